// The library of the file system with faults builds for few processors.
//go:build amd64 || arm64

package client

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"sallyport/bench/faultfs"
	"sallyport/bench/netns"
)

func TestMain(m *testing.M) {
	faultfs.Main()
	netns.Together(4) // most tests wait for a disk or a network
	os.Exit(m.Run())
}

// TestNonceFileFaults makes each change to the disk fail in turn while nonces are
// reserved. In each of these runs, it also simulates a power failure after each
// change. Reserve never returns a nonce twice, and works again after the fault.
func TestNonceFileFaults(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	disk := faultfs.Start(t)
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		last := 1
		for k := 0; k <= last; k++ {
			dir := disk.Arm(k, errno)
			reserved := reserve(t, disk, dir, k)
			if k == 0 {
				last = disk.Count()
				t.Logf("%d changes, each of which fails with %v", last, errno)
			}
			disk.Images(func(i faultfs.Image) {
				after := fmt.Sprintf("fault %d, power failure after %d (%s)", k, i.After, i.Kind)
				base, _, err := nonceFile(i.Path).Reserve(t.Context(), "com1", 3, noon)
				if err != nil {
					t.Errorf("%s: %v", after, err)
				}
				for _, o := range reserved {
					if o.after <= i.After && base < o.end {
						t.Errorf("%s: nonce %d, but those up to %d were reserved after %d", after, base, o.end-1, o.after)
					}
				}
			})
		}
	}
}

// reservation is a successful Reserve: all nonces below end are used, and the record
// of them was complete after a number of changes to the disk.
type reservation struct {
	end   uint32
	after int
}

func nonceFile(dir string) NonceFile {
	return NonceFile{Path: filepath.Join(dir, "sallyport", "work.nonce")}
}

func reserve(t *testing.T, disk *faultfs.FS, dir string, k int) (reserved []reservation) {
	t.Helper()
	failed, end := 0, uint32(0)
	for range 4 {
		base, _, err := nonceFile(dir).Reserve(t.Context(), "com1", 3, noon)
		if err != nil {
			if failed++; failed > min(k, 1) {
				t.Fatalf("fault %d: still failing: %v", k, err)
			}
			continue
		}
		if base < end {
			t.Fatalf("fault %d: nonce %d, but those up to %d were reserved", k, base, end-1)
		}
		end = base + 3
		reserved = append(reserved, reservation{end, disk.Count()})
	}
	return reserved
}
