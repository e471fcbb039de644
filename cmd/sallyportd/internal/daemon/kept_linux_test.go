package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"sallyport/bench/faultfs"
	"sallyport/bench/netns"
	"sallyport/sessions/state"
)

// reported is what a record has reported, and after how many changes of the disk:
// the lease is there, or it is gone for good.
type reported struct {
	lease state.Kept
	gone  bool
	after int
}

// TestKeptFaults makes each change of the disk fail in turn while leases without an
// end begin and end, and simulates a power failure after each change of each of these
// runs. A lease whose end was reported is on no disk.
func TestKeptFaults(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	disk := faultfs.Start(t)
	log := slog.New(slog.DiscardHandler)
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		last := 1
		for fault := 0; fault <= last; fault++ {
			dir := disk.Arm(fault, errno)
			k, list := loadKept(dir, keptAt, log)
			if len(list) != 0 {
				t.Fatal(list)
			}
			var all []reported
			var open []state.Kept
			for i := range uint32(6) {
				l := holding("hold-one", "com1").keep(anAddress(1, i), nil, keptAt)
				if errs, _ := k.put([]keptLease{l}); errs[0] == nil {
					all = append(all, reported{l.Kept, false, disk.Count()})
					open = append(open, l.Kept)
				}
				if i%2 == 0 || len(open) == 0 {
					continue
				}
				k.end(holding("hold-one", "com1").at(open[0].Address))
				for range 3 {
					err, endErr := k.flush()
					if endErr == nil {
						all = append(all, reported{open[0], true, disk.Count()})
					}
					if err == nil {
						break
					}
				}
				open = open[1:]
			}
			k.flush()
			if err, _ := k.flush(); err != nil {
				t.Errorf("fault %d: %v", fault, err)
			}
			if fault == 0 {
				last = disk.Count()
				t.Logf("%d changes, each of which fails with %v", last, errno)
			}
			if now, err := state.ReadKept(dir); err != nil || len(now) != len(open) {
				t.Errorf("fault %d: at the end %v, %v, want %v", fault, now, err, open)
			}
			disk.Images(func(i faultfs.Image) {
				now, err := state.ReadKept(i.Path)
				if err != nil {
					t.Errorf("fault %d, power failure after %d (%s): %v", fault, i.After, i.Kind, err)
				}
				for _, r := range all {
					over := slices.ContainsFunc(all, func(other reported) bool { return other.gone && other.lease == r.lease })
					switch has := slices.Contains(now, r.lease); {
					case r.after > i.After:
					case r.gone && has:
						t.Errorf("fault %d, power failure after %d (%s): %s has ended, and opens again", fault, i.After, i.Kind, r.lease.Address)
					case fault == 0 && !r.gone && !over && !has:
						t.Errorf("power failure after %d (%s): %s is lost", i.After, i.Kind, r.lease.Address)
					}
				}
			})
		}
	}
}

// TestKeptOnAFullDisk: the same on a real file system that is full: nothing opens,
// a closed lease stays closed, and an open one is recorded again when there is room.
func TestKeptOnAFullDisk(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	if err := syscall.Mount("small", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("file systems cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	k, _ := loadKept(dir, keptAt, slog.New(slog.DiscardHandler))
	var leases []keptLease
	for i := range uint32(3) {
		leases = append(leases, holding("hold-one", "com1").keep(anAddress(1, i), nil, keptAt))
	}
	if errs, _ := k.put(leases[:2]); errs[0] != nil || errs[1] != nil {
		t.Fatal(errs)
	}
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	if errs, _ := k.put(leases[2:]); errs[0] == nil {
		t.Error("opened on a full disk")
	}
	if list, err := state.ReadKept(dir); err != nil || len(list) != 2 {
		t.Errorf("recorded: %v, %v", list, err)
	}
	k.end(leases[0].at)
	if err, endErr := k.flush(); err == nil || endErr != nil {
		t.Errorf("closed on a full disk: %v, %v", err, endErr)
	}
	if list, err := state.ReadKept(dir); err != nil || len(list) != 0 {
		t.Errorf("after the close: %v, %v", list, err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if err, _ := k.flush(); err != nil {
		t.Fatal(err)
	}
	if list, err := state.ReadKept(dir); err != nil || len(list) != 1 || list[0] != leases[1].Kept {
		t.Errorf("with room again: %v, %v", list, err)
	}
}
