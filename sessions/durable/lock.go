package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Lock is an exclusive lock, of all processes that take it by its file.
type Lock struct{ release func() error }

// Close gives the lock up. The file stays.
func (l *Lock) Close() error { return l.release() }

// TakeLock takes the lock of the file at a path, and tries again at so long a
// distance until ctx ends. A file that is not there is made; it then has the
// owner of another, like, if that is there. What is no regular file with one
// name, a link among others, is an error.
func TakeLock(ctx context.Context, path, like string, pause time.Duration) (*Lock, error) {
	return takeLock(ctx, path, pause, func(p *place) (*os.File, error) { return p.lockFile(like) })
}

// TakeLockThere is TakeLock for a file that is there: if it is not, nothing
// holds the lock, and the error is fs.ErrNotExist. Nothing is made.
func TakeLockThere(ctx context.Context, path string, pause time.Duration) (*Lock, error) {
	return takeLock(ctx, path, pause, (*place).openNamed)
}

func takeLock(ctx context.Context, path string, pause time.Duration, open func(*place) (*os.File, error)) (*Lock, error) {
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

// lockFile opens the file of a lock, or makes it.
func (p *place) lockFile(like string) (f *os.File, err error) {
	for range 3 { // another process may make or remove it meanwhile
		if f, err = p.openNamed(); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if f, err = p.create(0o600); err == nil {
			if old, err := os.Stat(like); err == nil {
				p.giveTo(f, old)
			}
			return f, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, err
}

// openNamed opens a regular file that has this name and no other.
func (p *place) openNamed() (f *os.File, err error) {
	err = p.do(func() error {
		f, err = os.OpenFile(p.path, os.O_RDONLY|noWait|noFollow, 0)
		if info, lerr := os.Lstat(p.path); err != nil && lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			err = fmt.Errorf("%s: expected a file, this is a link", p.path)
		}
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
	if err = regular(f); err == nil {
		err = singleName(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// create makes a new file, which nothing else names.
func (p *place) create(mode os.FileMode) (f *os.File, err error) {
	err = p.do(func() error {
		f, err = os.OpenFile(p.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		return err
	})
	return f, err
}
