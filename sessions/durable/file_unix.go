//go:build unix

package durable

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// How files are opened for reading that others may have put there: a FIFO has
// nobody wait, and a link leads nowhere.
const (
	noWait   = unix.O_NONBLOCK | unix.O_NOCTTY
	noFollow = unix.O_NOFOLLOW
)

// keepOwner gives a file the owner of another. Only root can; for others the
// owner is the same already, or the file could not be replaced anyway.
func keepOwner(f *os.File, of os.FileInfo) {
	if uid, gid, ok := ownerOf(of); ok {
		f.Chown(uid, gid)
	}
}

func ownerOf(info os.FileInfo) (uid, gid int, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(s.Uid), int(s.Gid), true
}

// singleName refuses a file that has a second name: it may be somebody else's.
func singleName(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Nlink != 1 {
		return fmt.Errorf("%s: expected a file with one name, this has %d (hard links)", f.Name(), s.Nlink)
	}
	return nil
}

// tryLock takes the lock of a file, unless another has it: then release is nil.
func tryLock(f *os.File) (release func() error, err error) {
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
		case nil:
			return f.Close, nil
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return nil, nil
		default:
			return nil, err
		}
	}
}

// syncDirectory makes a rename in a directory durable.
func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
