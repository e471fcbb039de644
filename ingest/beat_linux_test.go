package ingest

import (
	"os"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/xdp"
)

// TestBeats: the program gets beats while the rotation has other work, and none after the
// end.
func TestBeats(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	d, ts := newDriver(t), shielded(t, 3)
	s, arrays, _ := d.loadOpen(t, xdp.Sizes{})
	beat := beatOf(t, arrays["settings"])
	ts.set(t, s, xdp.Options{})
	busy, released, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- ts.runInRotation(t.Context(), func(*rotation) error {
			close(busy)
			<-released
			return nil
		})
	}()
	<-busy
	for range 2 {
		last := beat.Load()
		netns.Until(t, "the next beat", func() bool { return beat.Load() > last })
	}
	close(released)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	ts.stop()
	if n := beat.Load(); n != 0 {
		t.Errorf("the beat is %d after the end", n)
	}
}

// beatOf maps the beat in the array of the settings.
func beatOf(t *testing.T, settings *os.File) *atomic.Uint64 {
	t.Helper()
	memory, err := unix.Mmap(int(settings.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(memory) })
	return &(*xdp.Settings)(unsafe.Pointer(&memory[0])).Beat
}
