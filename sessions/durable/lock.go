package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Lock is an exclusive lock on a file, among all processes that use it.
type Lock struct{ release func() error }

// Close releases the lock. The file stays.
func (l *Lock) Close() error { return l.release() }

// TakeLock takes the lock of the file at a path. If another process has it,
// TakeLock retries after each pause until ctx ends. If the file does not exist,
// TakeLock makes it, with the owner of another file, like, if that exists. The
// file must be a regular file with one name, and not a link.
func TakeLock(ctx context.Context, path, like string, pause time.Duration) (*Lock, error) {
	return takeLock(ctx, path, pause, func(p *target) (*os.File, error) { return p.lockFile(like) })
}

// TakeExistingLock is TakeLock for a file that exists. If it does not, no process
// has the lock, and the error is fs.ErrNotExist. TakeExistingLock makes no file.
func TakeExistingLock(ctx context.Context, path string, pause time.Duration) (*Lock, error) {
	return takeLock(ctx, path, pause, (*target).openNamed)
}

func takeLock(
	ctx context.Context, path string, pause time.Duration, open func(*target) (*os.File, error),
) (*Lock, error) {
	p, err := locateName(path)
	if err != nil {
		return nil, err
	}
	defer p.close()
	f, err := open(p)
	if err != nil {
		return nil, err
	}
	for {
		release, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		}
		if release != nil {
			return &Lock{release}, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
}

// lockFile opens or makes the file of a lock.
func (p *target) lockFile(like string) (f *os.File, err error) {
	for range 3 { // another process may make or remove it meanwhile
		if f, err = p.openNamed(); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if f, err = p.create(0o600); err == nil {
			if old, err := os.Stat(like); err == nil {
				p.chownLike(f, old)
			}
			return f, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, err
}

// openNamed opens a regular file that has only this name.
func (p *target) openNamed() (f *os.File, err error) {
	err = p.runAsUser(func() error {
		f, err = os.OpenFile(p.path, os.O_RDONLY|noWait|noFollow, 0)
		if err == nil {
			return nil
		}
		if info, lerr := os.Lstat(p.path); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			err = fmt.Errorf("%s: expected a file, got a link", p.path)
		}
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
	if err = requireRegular(p.path, f); err == nil {
		err = requireSingleName(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// create makes a new file.
func (p *target) create(mode os.FileMode) (f *os.File, err error) {
	err = p.runAsUser(func() error {
		f, err = os.OpenFile(p.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		return err
	})
	return f, err
}
