package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// MixedOwnerError is the error for a path that leads through links of more than
// one user: each of them can change where it leads.
type MixedOwnerError struct {
	Path string
	IDs  [2]int
}

func (e *MixedOwnerError) Error() string {
	return fmt.Sprintf("%s: expected links of one user, got links of two (user IDs %d and %d), "+
		"and each of them can change the path", e.Path, e.IDs[0], e.IDs[1])
}

// Hint returns a remedy.
func (e *MixedOwnerError) Hint() string {
	return "use the path to which the links lead"
}

// CannotActError is the error of a process of root that cannot act as the user
// that controls a path, because it has dropped the privilege.
type CannotActError struct {
	Path string
	UID  int
	err  error
}

func (e *CannotActError) Error() string {
	return fmt.Sprintf("%s: act as user ID %d, the owner of its directory: %v", e.Path, e.UID, e.err)
}

func (e *CannotActError) Unwrap() error { return e.err }

// Hint returns a remedy.
func (e *CannotActError) Hint() string {
	return fmt.Sprintf("the server has dropped root's privileges: set user = \"%d\" in its configuration, "+
		"or change the owner of the directory to root", e.UID)
}

// AsOwner runs f, which uses a file or directory at a path. If this process is
// root's, f has only the rights of the user that can replace that file or
// directory: the owner of the directory that contains it, or of a link on the
// path. The kernel checks each access of f as that user. So if this user replaces
// a link, a name or a directory, at any moment, f still has access only to files
// to which the user has access. If this process is not root's, f has the rights
// of this process.
//
// f is called once, with the path to use: all links of the path's directories and
// of its last component are followed. f must not start goroutines that use the
// path, and must not use it after the call. A file that f opens keeps the rights
// with which it was opened.
func AsOwner(path string, f func(path string) error) error {
	p, err := locate(path)
	if err != nil {
		return err
	}
	defer p.close()
	return p.runAsUser(func() error { return f(p.path) })
}

// Open opens a file for reading, with the rights of AsOwner. If those are the
// rights of another user, or if other users can write to a directory of the path,
// the file must be a regular file: Open does not wait for the writer of a FIFO.
func Open(path string) (*os.File, error) { return open(path, false) }

// OpenRegular is Open for a path that must be one of a regular file, in any directory.
func OpenRegular(path string) (*os.File, error) { return open(path, true) }

func open(path string, regular bool) (f *os.File, err error) {
	p, err := locate(path)
	if err != nil {
		return nil, err
	}
	defer p.close()
	flags := p.flags
	regular = regular || p.othersCanReplace
	if regular {
		flags |= noWait
	}
	err = p.runAsUser(func() error {
		f, err = os.OpenFile(p.path, os.O_RDONLY|flags, 0)
		return err
	})
	if errors.Is(err, fs.ErrPermission) {
		// The file may be root's, in the user's directory.
		if own, ok := p.openRootsFile(); ok {
			f, err = own, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if !regular {
		return f, nil
	}
	if err := requireRegular(path, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadFile reads a file, which it opens as Open does.
func ReadFile(path string) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Remove removes a file, or a link, with the rights of AsOwner.
func Remove(path string) error {
	p, err := locateName(path)
	if err != nil {
		return err
	}
	defer p.close()
	return p.runAsUser(func() error { return os.Remove(p.path) })
}

// requireRegular refuses devices, FIFOs, sockets and directories.
func requireRegular(path string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		return nil
	}
	kind := "a special file"
	if info.IsDir() {
		kind = "a directory"
	}
	return fmt.Errorf("%s: expected a regular file, got %s", path, kind)
}

// KeepOwner gives a new file the owner of another file, if that exists and if it
// is possible. If path is a link, or a file with a second name, KeepOwner returns
// an error.
func KeepOwner(path, of string) error {
	old, err := os.Stat(of)
	if err != nil {
		return nil
	}
	p, err := locateName(path)
	if err != nil {
		return err
	}
	defer p.close()
	f, err := p.openNamed()
	if err != nil {
		return err
	}
	defer f.Close()
	p.chownLike(f, old)
	return nil
}
