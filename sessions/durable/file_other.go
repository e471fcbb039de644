//go:build !unix

package durable

import (
	"errors"
	"os"

	"github.com/gofrs/flock"
)

// The flags have no equivalent here.
const noWait, noFollow = 0, 0

func keepOwner(*os.File, os.FileInfo) {}

func requireSingleName(*os.File) error { return nil }

// tryLock takes the lock of a file. If another process has it, release is nil.
func tryLock(f *os.File) (release func() error, err error) {
	lock := flock.New(f.Name())
	if taken, err := lock.TryLock(); err != nil || !taken {
		lock.Close()
		return nil, err
	}
	return func() error { return errors.Join(lock.Close(), f.Close()) }, nil
}

// syncDirectory does nothing: a directory cannot be flushed here. NTFS journals
// the rename.
func syncDirectory(string) error { return nil }
