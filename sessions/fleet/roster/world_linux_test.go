package roster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

const patient = time.Minute // no timeout is the subject

// lists is the lines of clients by their identifiers.
type lists map[string]string

func (l lists) String() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(l)) {
		fmt.Fprintf(&b, "%s=%s ", id, l[id])
	}
	return b.String()
}

// world is one etcd, with a prefix for each test.
type world struct {
	etcd   *etcdtest.Cluster
	way    *etcdtest.Gateway
	prefix string
	key    Key
	log    *logged
}

var prefixes atomic.Int64

func newWorld(t testing.TB, e *etcdtest.Cluster) *world {
	return &world{e, e.Gateway(t), fmt.Sprintf("/%d/", prefixes.Add(1)), testKey(t), &logged{}}
}

func testKey(t testing.TB) Key {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := NewKeyFile(path); err != nil {
		t.Fatal(err)
	}
	k, err := ReadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// open returns a Roster with another connection.
func (w *world) open(t testing.TB, dir string) *Roster {
	t.Helper()
	c, err := cluster.Open(cluster.Config{Endpoints: w.way.Endpoints(), Prefix: w.prefix, Timeout: patient, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r, err := Open(Config{Cluster: c, Key: w.key, Dir: dir, Log: slog.New(slog.NewTextHandler(w.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// logged is the text of a log.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String()
}

// set writes lines (an empty one removes) by one Edit.
func (r *Roster) set(ctx context.Context, l lists) error {
	var ids []wire.Identifier
	var changes []Change
	for k, line := range l {
		c := Change{ID: id(k)}
		if line != "" {
			c.Line = []byte(line)
		}
		ids, changes = append(ids, c.ID), append(changes, c)
	}
	return r.Edit(ctx, ids, func(map[wire.Identifier][]byte) ([]Change, error) { return changes, nil })
}

func (r *Roster) put(t testing.TB, l lists) {
	t.Helper()
	if err := r.set(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

// entries is the argument of Replace.
func (l lists) entries(yield func(Entry) bool) {
	for k, line := range l {
		if !yield(Entry{id(k), []byte(line)}) {
			return
		}
	}
}

func (r *Roster) replaceBy(t testing.TB, l lists) {
	t.Helper()
	if err := r.Replace(t.Context(), l.entries); err != nil {
		t.Fatal(err)
	}
}

func (r *Roster) get(t testing.TB) lists {
	t.Helper()
	l, err := r.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (r *Roster) load(ctx context.Context) (lists, error) {
	list, _, err := r.Load(ctx)
	l := lists{}
	for _, e := range list {
		l[e.ID.String()] = string(e.Line)
	}
	return l, err
}

// raw returns all keys of the list, by their names after the prefix.
func (w *world) raw(t testing.TB) map[string]string {
	t.Helper()
	c := w.open(t, "").cfg.Cluster
	all := map[string]string{}
	_, err := c.Scan(t.Context(), root, 0, func(page []cluster.Change) error {
		for _, x := range page {
			all[x.Key] = string(x.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// attack writes keys by another client of etcd; an empty value deletes.
func (w *world) attack(t testing.TB, all map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(all)) { // the manifest is the last one
		key := w.prefix + root + name
		var err error
		if value := all[name]; value == "" {
			_, err = w.etcd.Root().Delete(t.Context(), key)
		} else {
			_, err = w.etcd.Root().Put(t.Context(), key, value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// entryName returns the name of a client's entry.
func entryName(t testing.TB, all map[string]string, client string) string {
	t.Helper()
	h, err := parseHeader([]byte(all[listName]))
	if err != nil {
		t.Fatal(err)
	}
	return h.generation.String() + "/" + client
}

// gateway follows a list.
type gateway struct {
	*Roster
	mu    sync.Mutex
	list  lists
	calls int
	whole int
	fails error // of apply
	stop  func()
}

func (w *world) follow(t testing.TB, dir string) *gateway { return follow(t, w.open(t, dir)) }

func follow(t testing.TB, r *Roster) *gateway {
	g := &gateway{Roster: r, list: lists{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.Follow(ctx, g.take, nil) })
	g.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(g.stop)
	return g
}

func (g *gateway) take(_ Mark, all bool, changes []Change) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	if g.fails != nil {
		return g.fails
	}
	next := maps.Clone(g.list)
	if all {
		g.whole++
		next = lists{}
	}
	for _, c := range changes {
		if c.Line == nil {
			delete(next, c.ID.String())
		} else {
			next[c.ID.String()] = string(c.Line)
		}
	}
	g.list = next
	return nil
}

func (g *gateway) has() lists {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.list)
}

// wait waits until a condition holds.
func wait(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: does not come", what)
		}
	}
}

// expect waits for a list.
func (g *gateway) expect(t testing.TB, what string, want lists) {
	t.Helper()
	wait(t, what, func() bool { return maps.Equal(g.has(), want) || g.logs(t, want) })
}

// logs ends a test whose time is over with both lists.
func (g *gateway) logs(t testing.TB, want lists) bool {
	if t.Context().Err() != nil {
		t.Fatalf("has %v, want %v, %+v", g.has(), want, g.Stats())
	}
	return false
}

// refused waits for a refusal of a kind, and checks that the list stays.
func refused[E error](t testing.TB, g *gateway, what string, keeps lists) {
	t.Helper()
	wait(t, what, func() bool { _, ok := errors.AsType[E](g.Stats().Refusal); return ok })
	if got := g.has(); !maps.Equal(got, keeps) {
		t.Errorf("%s: has %v, want %v", what, got, keeps)
	}
}
