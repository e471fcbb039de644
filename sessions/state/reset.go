package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/durable"
)

// lockWait is how long a command waits for a directory that a server holds.
const lockWait = 200 * time.Millisecond

// Contents is what a file holds: one entry a client, in the order of their
// identifiers.
type Contents struct {
	Version uint32
	Entries []sessions.Entry
}

// ReadDir reads and checks the file in a directory. Errors are DamagedError,
// NewerError, LockedError while a server uses it, or the system's. With a
// DamagedError comes what is still readable.
func ReadDir(ctx context.Context, dir string) (Contents, error) {
	path := filepath.Join(dir, FileName)
	if _, err := os.Stat(path); err != nil {
		return Contents{}, err // and no lock file left where nothing is
	}
	lock, err := takeLock(ctx, dir, lockWait)
	if err != nil {
		return Contents{}, err
	}
	defer lock.Close()
	return ReadFile(path)
}

// ReadFile is ReadDir for a file that nobody writes.
func ReadFile(path string) (c Contents, err error) {
	err = withFile(path, func(f io.ReaderAt, size int64) error {
		c, err = Read(f, size, path)
		return err
	})
	return c, err
}

// Read is ReadFile for what a Snapshot has written; the name is for errors.
func Read(file io.ReaderAt, size int64, name string) (Contents, error) {
	c, err := inspect(file, size, name)
	if err == nil {
		return Contents{c.version, c.entries}, nil
	}
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		return Contents{version, salvage(file, size)}, err
	}
	return Contents{}, err
}

// Reset puts a new file in the place of the one in dir, with what is still
// readable of it, unless keep is false. The old one stays beside it, under the
// name that Reset returns; empty: there was none. Until now and the tolerance,
// stamps are doubted.
func Reset(ctx context.Context, dir string, now time.Time, tolerance time.Duration, keep bool) (kept int, aside string, err error) {
	path := filepath.Join(dir, FileName)
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return 0, "", fmt.Errorf("make the state directory: %w", err)
	}
	lock, err := takeLock(ctx, dir, lockWait)
	if err != nil {
		return 0, "", err
	}
	defer lock.Close()
	var c Contents
	if keep {
		var damaged *DamagedError
		if c, err = ReadFile(path); err != nil && !errors.As(err, &damaged) && !errors.Is(err, fs.ErrNotExist) {
			return 0, "", err
		}
	}
	if _, err := os.Lstat(path); err == nil {
		aside = path + now.UTC().Format(".20060102T150405.000Z")
		// A second name, so that there is a file at every moment.
		if err := os.Link(path, aside); err != nil {
			return 0, "", fmt.Errorf("keep the old state file: %w", err)
		}
	}
	h := header{doubt: seconds(now.Add(tolerance))}
	if err := write(path, h, c.Entries); err != nil {
		if aside != "" {
			os.Remove(aside)
		}
		return 0, "", fmt.Errorf("write a new state file: %w", err)
	}
	return len(c.Entries), aside, nil
}
