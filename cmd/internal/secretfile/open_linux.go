package secretfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openElsewhere reports whether the file is open a second time: the kernel then refuses
// a lease for writing (fcntl(2)). Not every file system has leases.
func openElsewhere(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	if err == nil {
		unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
