package presence

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
)

const patient = time.Minute // no time is the subject

type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *text) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *text) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), s)
}

func (l *text) wait(t *testing.T, s string) {
	t.Helper()
	for end := time.Now().Add(patient); !l.has(s); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the log lacks %q: %s", s, l.b.String())
		}
	}
}

// host is a gateway of a test.
type host struct {
	*Presence
	log  text
	stop func()
}

func open(t *testing.T, e *etcdtest.Cluster, name, dir, release string, ahead time.Duration) *host {
	t.Helper()
	h := &host{}
	c, err := cluster.Open(cluster.Config{Endpoints: e.Gateway(t).Endpoints(), Timeout: patient, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h.Presence, err = Open(Config{
		Name: name, Dir: dir, Cluster: c, Beat: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&h.log, nil)),
		Describe: func() Info { return Info{Release: release, Parts: []Part{{"clients", 1}}} },
		Wall:     func() time.Time { return time.Now().Add(ahead) },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.stop = sync.OnceFunc(c.Close)
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *host) run(t *testing.T) *host {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { h.Run(ctx) })
	shut := h.stop
	h.stop = sync.OnceFunc(func() { cancel(); wg.Wait(); h.Close(); shut() })
	return h
}

// TestName: a name that a running gateway has fails the start of another one, but not of
// the same one after a crash. A stop frees it. Of two with copies of one state directory,
// the first logs it.
func TestName(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	dir, another := t.TempDir(), t.TempDir()
	crashed := open(t, e, "a", dir, "v1", 0)
	if err := crashed.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	crashed.stop() // without Close: its key stays
	b := open(t, e, "a", another, "v1", 0)
	err := b.Claim(t.Context())
	used, ok := errors.AsType[*NameUsedError](err)
	if !ok || used.Hint() == "" || !strings.Contains(err.Error(), `"a"`) {
		t.Fatalf("the name of another: %v", err)
	}
	a := open(t, e, "a", dir, "v1", 0)
	if err := a.Claim(t.Context()); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	a.run(t)
	c := open(t, e, "a", dir, "v1", 0) // as with a copy: the state directory is not locked here
	for err = c.Claim(t.Context()); err != nil; err = c.Claim(t.Context()) {
		// Between a read and a write of c, a may have written again: a name in use.
		if _, ok := errors.AsType[*NameUsedError](err); !ok {
			t.Fatal(err)
		}
	}
	a.log.wait(t, "another gateway uses the name")
	c.Close()
	a.log.wait(t, "free again")
	a.stop()
	if err := b.Claim(t.Context()); err != nil {
		t.Errorf("after a stop: %v", err)
	}
}

// TestDifferences: the log of each gateway names what differs, also a clock, and a
// gateway that stops; Read finds all; etcd away is an error in time.
func TestDifferences(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	a := open(t, e, "a", t.TempDir(), "v1", 0).run(t)
	b := open(t, e, "b", t.TempDir(), "v2", time.Hour).run(t)
	for _, s := range []string{"part=release here=v1 there=v2", "part=clock here=0s there=1h0m0s"} {
		a.log.wait(t, s)
	}
	b.log.wait(t, "part=clock here=0s there=-1h0m0s")
	cfg := cluster.Config{Endpoints: e.Gateway(t).Endpoints(), Timeout: 5 * time.Second}
	all, err := Read(t.Context(), cfg, time.Now, patient, nil)
	if err != nil || len(all) != 2 || all[0].Name != "a" || all[1].Release != "v2" || all[1].Ahead < 59*time.Minute || !all[0].Measured {
		t.Errorf("%+v, %v", all, err)
	}
	b.stop()
	a.log.wait(t, "gateway gone from the fleet")
	cfg.Endpoints = []string{"http://127.0.0.1:1"} // where nothing listens
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Read(ctx, cfg, time.Now, patient, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without etcd: %v", err)
	}
}

// TestInstanceFile: the instance is the same after a restart, and a damaged file is an
// error with a hint.
func TestInstanceFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := makeInstance(dir)
	again, err2 := makeInstance(dir)
	if err != nil || err2 != nil || again != first {
		t.Errorf("%x, then %x: %v, %v", first, again, err, err2)
	}
	if err := os.WriteFile(filepath.Join(dir, InstanceFile), []byte("sallyport instance 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = makeInstance(dir)
	if damaged, ok := errors.AsType[*InstanceError](err); !ok || damaged.Hint() == "" {
		t.Error(err)
	}
}
