// Package durable replaces files so that a crash at any moment leaves the old
// one or the new one, whole, and so that what was written stays written.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MkdirAll makes a directory and those above it, as os.MkdirAll does, as the
// user of AsOwner. When it returns nil, all of them are on stable storage, also
// those that an earlier call has made and not lived to sync.
func MkdirAll(path string, mode os.FileMode) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	return AsOwner(path, func(path string) error {
		if err := os.MkdirAll(path, mode); err != nil {
			return err
		}
		for path != filepath.Dir(path) {
			path = filepath.Dir(path)
			if err := system.syncDirectory(path); err != nil && !notOurs(err) {
				return err
			}
		}
		return nil
	})
}

// notOurs reports whether a directory could not be synced in which this user
// can have made none.
func notOurs(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL)
}

// WriteFile puts a file with the given content and mode in the place of path,
// as the user of AsOwner; a link there stays, and what it leads to is replaced.
// It keeps the owner of the file that it replaces, where that is possible:
// what root edits stays readable for the user that it belongs to.
// When it returns nil, the content is on stable storage. An error leaves path
// as it was, but for one of the very last step: then the new content is there,
// and may not survive a power failure. Writers of one path must exclude each
// other: the new file grows beside it under a fixed name, so that crashes
// leave one at the most.
func WriteFile(path string, content []byte, mode os.FileMode) error {
	return WriteFileLike(path, path, content, mode)
}

// WriteFileLike is WriteFile for a file that is to have the owner of another,
// like, if that is there.
func WriteFileLike(path, like string, content []byte, mode os.FileMode) error {
	old, _ := os.Stat(like)
	p, err := locate(path)
	if err != nil {
		return err
	}
	defer p.close()
	return p.do(func() (err error) {
		temporary := p.path + ".new"
		// What a crash has left may have another mode.
		if err := os.Remove(temporary); err != nil && !os.IsNotExist(err) {
			return err
		}
		f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		f.Chmod(mode) // the umask may have taken from it
		if old != nil {
			p.giveTo(f, old)
		}
		_, err = f.Write(content)
		if err == nil {
			err = system.sync(f)
		}
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			os.Remove(temporary)
			return err
		}
		if err = Rename(temporary, p.path); err != nil {
			os.Remove(temporary) // if it still has this name
		}
		return err
	})
}

// Rename renames a file whose content is on stable storage already; when it
// returns nil, so is its name. Both paths must lie in one directory. It acts as
// this user: see AsOwner.
func Rename(from, to string) error {
	if err := system.rename(from, to); err != nil {
		return err
	}
	return system.syncDirectory(filepath.Dir(to))
}

// SyncDirectory puts the names in a directory on stable storage.
func SyncDirectory(path string) error { return system.syncDirectory(path) }

// CreateFile makes a file that is not there yet, as the user of AsOwner, on
// stable storage when it returns nil. One that is there stays as it is, and is
// an error, and so is a link.
func CreateFile(path string, content []byte, mode os.FileMode) error {
	p, err := locateName(path)
	if err != nil {
		return err
	}
	defer p.close()
	return p.do(func() error {
		f, err := os.OpenFile(p.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		if err == nil {
			err = system.sync(f)
		}
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err == nil {
			err = system.syncDirectory(filepath.Dir(p.path))
		}
		if err != nil {
			os.Remove(p.path)
		}
		return err
	})
}

// system is what makes a file durable; tests watch it.
var system = struct {
	sync          func(*os.File) error
	rename        func(from, to string) error
	syncDirectory func(path string) error
}{(*os.File).Sync, os.Rename, syncDirectory}
