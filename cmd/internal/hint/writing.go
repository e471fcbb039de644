package hint

import (
	"errors"
	"io/fs"

	"sallyport/sessions/syserror"
)

// Writing adds a hint to the error of a file that could not be written: what
// prevents it. It keeps another hint of the error.
func Writing(err error) error {
	var hinted interface{ Hint() string }
	if err == nil || errors.As(err, &hinted) {
		return err
	}
	switch {
	case syserror.DiskFull.In(err):
		return With(err, "the disk is full: free space on it, and run the same command again")
	case syserror.ReadOnly.In(err):
		return With(err, "the file system is mounted read-only: run the command where the directory is writable")
	case errors.Is(err, fs.ErrPermission):
		return With(err, "the new file is made beside the old one: run the command as the owner of the directory, or as root")
	}
	return err
}
