package fleet

import (
	"runtime"
	"testing"

	"sallyport/sessions/fleet/cluster"
	"sallyport/verify/wire"
)

// TestSnapshotsReturnMemory: after a large snapshot the process does not keep its garbage;
// a small one, and later changes, cost no collection.
func TestSnapshotsReturnMemory(t *testing.T) {
	j := &Journal{view: newView(), registered: func(wire.Identifier) bool { return false }}
	f := &follower{Journal: j, ctx: t.Context()}
	collections := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumForcedGC
	}
	keys := func(n int) []cluster.Change {
		all := make([]cluster.Change, n)
		for i := range all {
			all[i].Key = "com1"
		}
		return all
	}
	for _, c := range []struct {
		name     string
		begins   bool
		pages, n int
		want     uint32
	}{
		{"a small snapshot", true, 2, largeSnapshot/2 - 1, 0},
		{"a large one", true, 2, largeSnapshot / 2, 1},
		{"changes", false, 2, largeSnapshot, 0},
	} {
		before := collections()
		if c.begins {
			f.Begin()
		}
		for range c.pages {
			f.Apply(keys(c.n))
		}
		f.Current(1)
		if got := collections() - before; got != c.want {
			t.Errorf("%s: %d collections, want %d", c.name, got, c.want)
		}
	}
}
