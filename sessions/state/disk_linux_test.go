package state

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// tmpfs mounts a small disk.
func tmpfs(t *testing.T, options string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("small", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("file systems cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestFullDisk: no entry is accepted while the disk is full, and all are as soon as
// it is not. Accepted entries are never lost.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for name, cfg := range map[string]func(string) Config{"strict": config, "relaxed": relaxed} {
		dir := tmpfs(t, "size=512k")
		if err := Create(dir); err != nil {
			t.Fatal(err)
		}
		s := open(t, cfg(dir))
		record(t, s, crowd(100, 1)...)
		fill := fillUp(t, dir)
		// A relaxed store notices with the next flush.
		refused := false
		for mark := uint32(2); !refused; mark++ {
			_, err := s.RecordLeases(crowd(1000, mark), nil)
			refused = errors.Is(err, syscall.ENOSPC)
			if err == nil && cfg(dir).Relaxed {
				time.Sleep(flushPause / 10)
			} else if !refused {
				t.Fatalf("%s: on a full disk: %v", name, err)
			}
		}
		if _, err := s.RecordLeases(crowd(1, 50), nil); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: still full: %v", name, err)
		}
		if s.Failures() < 2 {
			t.Errorf("%s: %d failures counted", name, s.Failures())
		}
		if err := os.Remove(fill); err != nil {
			t.Fatal(err)
		}
		record(t, s, crowd(100, 60)...)
		closeStore(t, s)
		s = open(t, cfg(dir))
		c, err := s.readAll()
		if got := c.entries; err != nil || len(got) < 100 || !slices.Contains(got, crowd(100, 60)[42]) {
			t.Errorf("%s: %d entries, %v", name, len(c.entries), err)
		}
		if s.Gap() != (Gap{}) {
			t.Errorf("%s: a gap after a clean stop: %+v", name, s.Gap())
		}
		closeStore(t, s)
	}
}

// fillUp fills the disk.
func fillUp(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "fill")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, pageSize)
	for err == nil {
		_, err = f.Write(page)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return path
}

func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := tmpfs(t, "")
	closeStore(t, open(t, config(dir)))
	remount := func(flags uintptr) {
		if err := syscall.Mount("small", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	if _, err := Open(t.Context(), config(dir)); !errors.Is(err, syscall.EROFS) {
		t.Errorf("opened: %v", err)
	}
	if c, err := ReadDir(t.Context(), dir); err != nil || c.Version != version {
		t.Errorf("read: %v", err)
	}
	if _, err := Open(t.Context(), config(filepath.Join(dir, "new"))); !errors.Is(err, syscall.EROFS) {
		t.Errorf("made: %v", err)
	}
	remount(0)
	closeStore(t, open(t, config(dir)))
}
