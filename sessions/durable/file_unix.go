//go:build unix

package durable

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Flags to open a file that other users may have put there: opening a FIFO does
// not block, and a link is not followed.
const (
	noWait   = unix.O_NONBLOCK | unix.O_NOCTTY
	noFollow = unix.O_NOFOLLOW
)

// keepOwner gives a file the owner of another. Only root can; for other users the
// owner is already the same, or they cannot replace the file.
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

// requireSingleName refuses a file that has a second name: the file may belong to
// another directory and user.
func requireSingleName(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Nlink != 1 {
		return fmt.Errorf("%s: expected a file with one name, got a file with %d names (hard links)", f.Name(), s.Nlink)
	}
	return nil
}

// tryLock takes the lock of a file. If another process has it, release is nil.
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
