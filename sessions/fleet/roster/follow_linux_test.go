package roster

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/sessions/fleet/etcdtest"
)

// TestAway: a gateway keeps its list while etcd is away, and catches up, also if etcd has
// compacted what it missed.
func TestAway(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	w := newWorld(t, e)
	editor := w.open(t, "")
	editor.replaceBy(t, lists{"com1": "one"})
	w.way = e.Gateway(t) // of the gateway only
	g := w.follow(t, "")
	g.expect(t, "the list", lists{"com1": "one"})
	for _, compact := range []bool{false, true} {
		w.way.Each((*etcdtest.Path).Cut)
		for range 3 {
			editor.put(t, lists{"com1": fmt.Sprint("another ", compact), "com2": "two"})
			editor.put(t, lists{"com2": ""})
		}
		editor.replaceBy(t, lists{"com3": fmt.Sprint(compact)})
		if compact {
			e.Compact(t)
		}
		if got := g.has(); got["com3"] == fmt.Sprint(compact) {
			t.Errorf("has %v", got)
		}
		w.way.Each((*etcdtest.Path).Heal)
		g.expect(t, "what it missed", lists{"com3": fmt.Sprint(compact)})
	}
	if s := g.Stats(); s.Refusal != nil || s.Refused != 0 {
		t.Errorf("%+v", s)
	}

	// A backup is a list that went back.
	backup := e.Snapshot(t)
	editor.put(t, lists{"com4": "four"})
	now := lists{"com3": "true", "com4": "four"}
	g.expect(t, "a change", now)
	e.Restore(t, backup, false)
	refused[*NotNewerError](t, g, "a backup", now)
	editor.replaceBy(t, lists{"com5": "five"})
	g.expect(t, "a whole list", lists{"com5": "five"})
}

// TestApplyFails: a gateway that cannot apply a list keeps the one before, and tries again
// with all clients.
func TestApplyFails(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	w := newWorld(t, e)
	editor := w.open(t, "")
	editor.replaceBy(t, lists{"com1": "one"})
	dir := t.TempDir()
	g := w.follow(t, dir)
	g.expect(t, "the list", lists{"com1": "one"})
	full := errors.New("no space left")
	g.mu.Lock()
	g.fails = full
	g.mu.Unlock()
	editor.put(t, lists{"com2": "two"})
	wait(t, "the failure", func() bool { return errors.Is(g.Stats().Refusal, full) })
	if got := g.has(); !maps.Equal(got, lists{"com1": "one"}) {
		t.Errorf("has %v", got)
	}
	g.mu.Lock()
	g.fails = nil
	g.mu.Unlock()
	g.expect(t, "the next try", lists{"com1": "one", "com2": "two"})

	// A disk that is full delays no change.
	if err := os.Mkdir(filepath.Join(dir, FloorFile+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, FloorFile+".new", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	editor.put(t, lists{"com1": ""})
	g.expect(t, "a revocation", lists{"com2": "two"})
	if g.Stats().FloorError == nil {
		t.Error("no error of the file")
	}
	if err := os.RemoveAll(filepath.Join(dir, FloorFile+".new")); err != nil {
		t.Fatal(err)
	}
	editor.put(t, lists{"com3": "three"})
	wait(t, "the file", func() bool { return g.Stats().FloorError == nil && g.Stats().Applied == 4 })
	if l, err := readLevel(filepath.Join(dir, FloorFile)); err != nil || l != g.floor.get() {
		t.Errorf("the file has %v, %v", l, err)
	}
}

// TestQuota: a list that does not fit into etcd is an error, and the old one stays. Room
// that is left again is enough.
func TestQuota(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{Quota: 1 << 20})
	w := newWorld(t, e)
	r := w.open(t, "")
	want := lists{"com1": "one"}
	r.replaceBy(t, want)
	g := w.follow(t, "")
	g.expect(t, "the list", want)
	large := lists{}
	for i := range 3000 { // etcd compares its size with the quota every 100 ms
		large[fmt.Sprintf("%04d", i)] = strings.Repeat("x", MaxLine)
	}
	err := r.Replace(t.Context(), large.entries)
	if err == nil || !strings.Contains(err.Error(), "database space exceeded") {
		t.Errorf("got %v", err)
	}
	if got := r.get(t); !maps.Equal(got, want) {
		t.Errorf("has %d clients", len(got))
	}
	if err := r.set(t.Context(), lists{"com2": "two"}); err == nil {
		t.Error("a change without space")
	}
	if all := w.raw(t); len(all) != 2 {
		t.Errorf("%d keys left", len(all))
	}
	if got := g.has(); !maps.Equal(got, want) {
		t.Errorf("the gateway has %d clients", len(got))
	}
}
