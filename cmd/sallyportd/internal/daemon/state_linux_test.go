package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/verify/replay"
	"sallyport/verify/wire"
)

// TestFullDisk: while nonces cannot be recorded nothing opens, and that is
// counted; when there is room again, the next knock is good.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	disk := t.TempDir()
	if err := syscall.Mount("small", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("file systems cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	w := newWorld(t, func(s *setup) { s.stateDir = disk })
	fill := filepath.Join(disk, "fill")
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// The state file has room within itself, until it would have to grow.
	for n := uint16(0); err == nil || !errors.Is(err, syscall.ENOSPC) || n == 0; n++ {
		if n == 1000 {
			t.Fatalf("the disk is never full: %v", err)
		}
		var window replay.Window
		window.Accept(0)
		_, err = w.server.state.RecordLeases([]sessions.Entry{{Identifier: wire.Identifier{'x', 'x', byte(n >> 8), byte(n)}, Ring: window.Ring()}}, nil)
	}
	stats := func() [sessions.NumOutcomes]uint64 { return w.server.sessions.Stats() }
	w.sendSequence(t, "com1", 0)
	w.until(t, "a knock on a full disk", func() bool { return stats()[sessions.Unrecorded] > 0 })
	if w.listening() || stats()[sessions.Opened] != 0 {
		t.Error("opened without a record")
	}
	if w.server.state.Failures() == 0 {
		t.Error("not counted")
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	w.sendSequence(t, "com1", 0) // its nonces are used all the same
	w.sendSequence(t, "com1", 3)
	w.until(t, "a knock with room again", w.listening)
	if w.opened() != 1 {
		t.Errorf("opened %d times", w.opened())
	}
}
