package daemon

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"sallyport/bench/faultfs"
	"sallyport/bench/netns"
	"sallyport/sessions/state"
)

// TestUsesFaults makes each change of the disk fail in turn while an operation is used,
// and simulates a power failure after each change of each of these runs: the record has
// every use that was granted before.
func TestUsesFaults(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	disk := faultfs.Start(t)
	const limit = 3
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		last := 1
		for fault := 0; fault <= last; fault++ {
			dir := disk.Arm(fault, errno)
			u, err := loadUses(dir, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			var granted []int // after how many changes of the disk
			refused := 0
			for range limit + 2 {
				switch err := u.take([]command{limited("one", limit)})[0]; {
				case err == nil:
					granted = append(granted, disk.Count())
				case !errors.Is(err, errNoUses):
					refused++
				}
			}
			if fault == 0 {
				last = disk.Count()
				t.Logf("%d changes, each of which fails with %v", last, errno)
			}
			if len(granted) != limit || refused > 1 {
				t.Errorf("fault %d: %d executed, %d failed", fault, len(granted), refused)
			}
			disk.Images(func(i faultfs.Image) {
				list, err := state.ReadUses(i.Path) // the image is a copy
				used := 0
				for _, x := range list {
					used += int(x.Used)
				}
				done := 0
				for _, after := range granted {
					if after <= i.After {
						done++
					}
				}
				var copied *state.CopiedError
				if done > 0 && !errors.As(err, &copied) || used < done {
					t.Errorf("fault %d, power failure after %d (%s): %d recorded, %d executed, %v", fault, i.After, i.Kind, used, done, err)
				}
			})
		}
	}
}

// TestUsesOnAFullDisk: nothing is executed, and no use is lost.
func TestUsesOnAFullDisk(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	if err := syscall.Mount("small", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("file systems cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	load := func() *uses {
		u, err := loadUses(dir, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	load()
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	u := load()
	for range 2 {
		if err := u.take([]command{limited("one", 1)})[0]; !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("on a full disk: %v", err)
		}
	}
	if u.left(limit{useKey("one"), 1}) != 1 || load().left(limit{useKey("one"), 1}) != 1 {
		t.Error("the use is lost")
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if err := u.take([]command{limited("one", 1)})[0]; err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := load().take([]command{limited("one", 1)})[0]; !errors.Is(err, errNoUses) {
		t.Errorf("used up: %v", err)
	}
}
