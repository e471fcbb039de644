//go:build !unix

package durable

import (
	"errors"
	"os"

	"github.com/gofrs/flock"
)

// There are neither FIFOs nor the links of others to be wary of.
const noWait, noFollow = 0, 0

func keepOwner(*os.File, os.FileInfo) {}

func singleName(*os.File) error { return nil }

// tryLock takes the lock of a file, unless another has it: then release is nil.
func tryLock(f *os.File) (release func() error, err error) {
	lock := flock.New(f.Name())
	if taken, err := lock.TryLock(); err != nil || !taken {
		lock.Close()
		return nil, err
	}
	return func() error { return errors.Join(lock.Close(), f.Close()) }, nil
}

// syncDirectory does nothing: there is no such thing as a directory's handle
// to flush. NTFS journals the rename.
func syncDirectory(string) error { return nil }
