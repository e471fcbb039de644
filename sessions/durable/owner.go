package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// MixedOwnerError says that a path leads through links of more than one user:
// no single user vouches for what it leads to.
type MixedOwnerError struct {
	Path string
	IDs  [2]int
}

func (e *MixedOwnerError) Error() string {
	return fmt.Sprintf("%s: links of two users lead there (user IDs %d and %d), and either could lead it elsewhere", e.Path, e.IDs[0], e.IDs[1])
}

// Hint says what to do.
func (e *MixedOwnerError) Hint() string {
	return "give the path that the links lead to"
}

// CannotActError says that this process of root's may not act as the user who
// controls a path: it has dropped the privilege to.
type CannotActError struct {
	Path string
	UID  int
	err  error
}

func (e *CannotActError) Error() string {
	return fmt.Sprintf("%s: act as user ID %d, who owns its directory: %v", e.Path, e.UID, e.err)
}

func (e *CannotActError) Unwrap() error { return e.err }

// Hint says what to do.
func (e *CannotActError) Hint() string {
	return fmt.Sprintf("the server has dropped root's privileges: set user = \"%d\" in its configuration, or give the directory to root", e.UID)
}

// AsOwner runs f, which uses a file or directory at a path, with no more rights
// than the user has who could put something else in its place. For root that
// is the owner of the directory that holds it, or of a link on the way: the
// kernel then checks each step of f as that user, so that a link, a name or a
// directory that this user swaps, at any moment, leads f nowhere that the user
// could not go alone. For all others it is this user.
//
// f is called once, with the path to use: all links of the path's directories
// and of its last component are followed. f must not start goroutines that use
// the path, and must not outlive the call. A file that f opens keeps the rights
// that it was opened with.
func AsOwner(path string, f func(path string) error) error {
	p, err := locate(path)
	if err != nil {
		return err
	}
	defer p.close()
	return p.do(func() error { return f(p.path) })
}

// Open opens a file for reading, as the user of AsOwner. Where that is another
// user than this one, or others can write to a directory on the way, it is a
// regular file: Open waits for no other end, as a FIFO has one.
func Open(path string) (f *os.File, err error) {
	p, err := locate(path)
	if err != nil {
		return nil, err
	}
	defer p.close()
	flags := p.flags
	if p.foreign {
		flags |= noWait
	}
	err = p.do(func() error {
		f, err = os.OpenFile(p.path, os.O_RDONLY|flags, 0)
		return err
	})
	if errors.Is(err, fs.ErrPermission) {
		// Root's own file in the user's directory.
		if own, ok := p.openRoots(); ok {
			f, err = own, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if !p.foreign {
		return f, nil
	}
	if err := regular(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadFile reads what Open opens.
func ReadFile(path string) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Remove removes a file, as the user of AsOwner. A link is removed
// itself.
func Remove(path string) error {
	p, err := locateName(path)
	if err != nil {
		return err
	}
	defer p.close()
	return p.do(func() error { return os.Remove(p.path) })
}

// regular refuses devices, FIFOs, sockets and directories.
func regular(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: expected a file, this is something else", f.Name())
	}
	return nil
}

// KeepOwner gives a file that was just made the owner of another, if that is
// there, where that is possible. A link, and a file with a second name, are
// errors.
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
	p.giveTo(f, old)
	return nil
}
