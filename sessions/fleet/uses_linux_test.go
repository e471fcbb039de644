package fleet

import (
	"sync"
	"sync/atomic"
	"testing"

	"sallyport/sessions/fleet/etcdtest"
)

// TestUses: gateways that count uses at the same time give as many as there are; a
// gateway that was alone before brings its count; a reset begins at zero everywhere.
func TestUses(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	a, b := openJournal(t, e.Gateway(t), t.TempDir(), patient), openJournal(t, e.Gateway(t), t.TempDir(), patient)
	t.Cleanup(func() { a.Close(); b.Close() })
	for range 2 {
		var all sync.WaitGroup
		var given atomic.Uint32
		for i := range 20 {
			j := []*Journal{a, b}[i%2]
			all.Go(func() {
				taken, used, err := j.TakeUses("ssh/alice", 7, 2, 10, 1)
				if err != nil || used > 10 {
					t.Errorf("%d used, %v", used, err)
				}
				given.Add(taken)
			})
		}
		all.Wait()
		if n := given.Load(); n != 8 {
			t.Errorf("%d uses given, want 8", n)
		}
		if taken, used, err := b.TakeUses("ssh/alice", 8, 0, 3, 5); taken != 3 || used != 3 || err != nil {
			t.Errorf("another secret: %d, %d, %v", taken, used, err)
		}
		if err := a.ResetUses("ssh/alice", 8); err != nil {
			t.Error(err)
		}
		if err := b.ResetUses("ssh/alice", 7); err != nil {
			t.Error(err)
		}
		if taken, _, err := a.TakeUses("ssh/alice", 7, 2, 2, 2); taken != 2 || err != nil {
			t.Errorf("after the reset: %d, %v", taken, err)
		}
	}
	if _, err := e.Root().Put(t.Context(), a.usesKey("x", 1), "\x02"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.TakeUses("x", 1, 0, 9, 1); err == nil {
		t.Error("an unreadable count gave a use")
	}
}
