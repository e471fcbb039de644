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
	netns.Together(4) // most of them wait, for a disk or a network
	os.Exit(m.Run())
}

// TestNonceFileFaults lets each change to the disk fail in turn while nonces
// are reserved; and after each change of each of these runs, the power. A
// nonce that was handed out never is again, and when the fault is over nonces
// are handed out again.
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
			out := reserve(t, disk, dir, k)
			if k == 0 {
				last = disk.Count()
				t.Logf("%d changes, each of which fails with %v", last, errno)
			}
			disk.Images(func(i faultfs.Image) {
				after := fmt.Sprintf("fault %d, power failure after %d (%s)", k, i.After, i.Kind)
				base, err := nonceFile(i.Path).Reserve(t.Context(), "com1", 3, 0)
				if err != nil {
					t.Errorf("%s: %v", after, err)
				}
				for _, o := range out {
					if o.after <= i.After && base < o.end {
						t.Errorf("%s: nonce %d, but those up to %d were handed out after %d", after, base, o.end-1, o.after)
					}
				}
			})
		}
	}
}

// handedOut says that all nonces below end are gone, and after which change.
type handedOut struct {
	end   uint32
	after int
}

func nonceFile(dir string) NonceFile {
	return NonceFile{Path: filepath.Join(dir, "sallyport", "work.nonce")}
}

func reserve(t *testing.T, disk *faultfs.FS, dir string, k int) (out []handedOut) {
	t.Helper()
	failed, end := 0, uint32(0)
	for range 4 {
		base, err := nonceFile(dir).Reserve(t.Context(), "com1", 3, 0)
		if err != nil {
			if failed++; failed > min(k, 1) {
				t.Fatalf("fault %d: still failing: %v", k, err)
			}
			continue
		}
		if base < end {
			t.Fatalf("fault %d: nonce %d, but those up to %d were handed out", k, base, end-1)
		}
		end = base + 3
		out = append(out, handedOut{end, disk.Count()})
	}
	return out
}
