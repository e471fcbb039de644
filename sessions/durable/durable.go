// Package durable replaces files so that a crash at any moment leaves either the
// complete old file or the complete new one, and so that written content
// survives a power failure. For root, it uses files with the rights of the user
// that controls their directory: see AsOwner.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MkdirAll makes a directory and its parents, as os.MkdirAll does, with the rights
// of AsOwner. When it returns nil, all of them are on stable storage, also those
// that an earlier call made without syncing them, because it crashed.
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
			if err := system.syncDirectory(path); err != nil && !cannotBeOurs(err) {
				return err
			}
		}
		return nil
	})
}

// cannotBeOurs reports whether an error shows that this user cannot have made a
// directory there.
func cannotBeOurs(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL)
}

// WriteFile replaces the file at path by one with the given content and mode, with
// the rights of AsOwner. A link at path stays, and its target is replaced. The new
// file keeps the owner of the old one, and its access control list if the mode has
// bits for the group, if possible: a user can still read a file that root has
// edited. A file that is a mount itself is a MountedError. When WriteFile returns
// nil, the content is on stable storage. An error leaves path unchanged, except an
// error of the last step: then the new content is there, but may not survive a power
// failure.
// Writers of one path must exclude each other: the new file is written next to it
// under a fixed name, so that crashes leave at most one such file.
func WriteFile(path string, content []byte, mode os.FileMode) error {
	return WriteFileLike(path, path, content, mode)
}

// WriteFileLike is WriteFile for a file that gets the owner of another file, like,
// if that exists.
func WriteFileLike(path, like string, content []byte, mode os.FileMode) error {
	return writeFile(path, like, func(*os.File) ([]byte, error) { return content, nil }, mode)
}

// WriteFileOf is WriteFile for a content that contains the Identity of the new file.
func WriteFileOf(path string, content func(Identity) ([]byte, error), mode os.FileMode) error {
	return writeFile(path, path, func(f *os.File) ([]byte, error) {
		id, err := IdentityOf(f)
		if err != nil {
			return nil, err
		}
		return content(id)
	}, mode)
}

// writeFile is WriteFileLike. It asks for the content once the new file exists.
func writeFile(path, like string, contentOf func(*os.File) ([]byte, error), mode os.FileMode) error {
	old, _ := os.Stat(like)
	p, err := locate(path)
	if err != nil {
		return err
	}
	defer p.close()
	return p.runAsUser(func() (err error) {
		if isMountPoint(p.path) {
			return &MountedError{path}
		}
		temporary := p.path + ".new"
		// A file that a crash has left may have another mode. If it cannot be
		// removed, it cannot be made either.
		os.Remove(temporary)
		f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		f.Chmod(mode) // the umask may have removed bits
		if old != nil {
			keepList(f, like, mode)
			p.chownLike(f, old)
		}
		content, err := contentOf(f)
		if err == nil {
			_, err = f.Write(content)
		}
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
			os.Remove(temporary) // if the file still has this name
		}
		if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) {
			return &MountedError{path}
		}
		return err
	})
}

// MountedError is the error of a file that WriteFile cannot replace, because the
// file is a mount itself. WriteFile does not write into it: a crash would leave a
// half file, and readers would see one.
type MountedError struct{ Path string }

func (e *MountedError) Error() string {
	return e.Path + ": expected a file in a mounted directory, got a file that is a mount itself, which cannot be replaced"
}

// Hint returns what to do.
func (e *MountedError) Hint() string {
	return "mount the directory that contains the file, instead of the file"
}

// Replaceable returns a MountedError if WriteFile cannot replace a file.
func Replaceable(path string) error {
	return AsOwner(path, func(located string) error {
		if isMountPoint(located) {
			return &MountedError{path}
		}
		return nil
	})
}

// Rename renames a file whose content is already on stable storage. When it
// returns nil, the new name is too. Both paths must be in one directory. Rename
// has the rights of the caller: see AsOwner.
func Rename(from, to string) error {
	if err := system.rename(from, to); err != nil {
		return err
	}
	return system.syncDirectory(filepath.Dir(to))
}

// SyncDirectory puts the names in a directory on stable storage.
func SyncDirectory(path string) error { return system.syncDirectory(path) }

// CreateFile makes a file, with the rights of AsOwner. When it returns nil, the
// file is on stable storage. If the path exists, even as a link, CreateFile
// returns an error and does not change it.
func CreateFile(path string, content []byte, mode os.FileMode) error {
	p, err := locateName(path)
	if err != nil {
		return err
	}
	defer p.close()
	return p.runAsUser(func() error {
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

// system holds the operations that make a file durable; tests replace them.
var system = struct {
	sync          func(*os.File) error
	rename        func(from, to string) error
	syncDirectory func(path string) error
}{(*os.File).Sync, os.Rename, syncDirectory}
