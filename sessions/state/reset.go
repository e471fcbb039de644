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

// lockWait is how long a command waits for the lock of a directory.
const lockWait = 200 * time.Millisecond

// Contents is the content of a file: one entry for each secret that clients have, or
// had, in the order of the identifiers, and the leases. An entry of a file of an
// earlier format names no secret.
type Contents struct {
	Version uint32
	Entries []sessions.Entry
	Leases  []Lease
	Gap     Gap // of the next start

	removed []removed
}

// Clients returns the number of clients that have entries.
func (c Contents) Clients() int {
	n := 0
	for i, e := range c.Entries {
		if i == 0 || e.Identifier != c.Entries[i-1].Identifier {
			n++
		}
	}
	return n
}

// ReadDir reads and checks the file in a directory. Errors are DamagedError,
// NewerError, LockedError while a server uses it, or errors of the system. With a
// DamagedError, the Contents are all readable records.
func ReadDir(ctx context.Context, dir string) (Contents, error) {
	path := filepath.Join(dir, FileName)
	lock, err := takeExistingLock(ctx, dir, lockWait)
	switch {
	case err == nil:
		defer lock.Close()
		return ReadFile(path)
	case !errors.Is(err, fs.ErrNotExist):
		return Contents{}, err
	}
	c, err := ReadFile(path)
	// A server makes the lock before it writes. If there is one now, a server has
	// started meanwhile, and may have changed the file during the read.
	if lock, now := takeExistingLock(ctx, dir, lockWait); now == nil {
		defer lock.Close()
		return ReadFile(path)
	} else if !errors.Is(now, fs.ErrNotExist) {
		return Contents{}, now
	}
	return c, err
}

// ReadFile is ReadDir for a file that no process writes.
func ReadFile(path string) (c Contents, err error) {
	err = withFile(path, func(f io.ReaderAt, size int64) error {
		c, err = readContents(f, size, path, header.atStart)
		return err
	})
	return c, err
}

// Read is ReadFile for a file that Snapshot has written; the name is for errors.
// Its Gap is that of a start after a clean stop.
func Read(file io.ReaderAt, size int64, name string) (Contents, error) {
	return readContents(file, size, name, func(h header) header { return h })
}

func readContents(file io.ReaderAt, size int64, name string, next func(header) header) (Contents, error) {
	c, err := inspect(file, size, name)
	if err == nil {
		return Contents{c.version, c.entries, c.leases, gapOf(next(c.header)), c.removed}, nil
	}
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		c := salvage(file, size)
		return Contents{version, c.entries, c.leases, gapOf(headerAfterLoss), c.removed}, err
	}
	return Contents{}, err
}

// Reset replaces the file in dir by a new one: with all readable records, or, if
// keep is false, without records. The old file is kept under another name. The
// next start refuses all knocks whose nonces may have been used before, whatever
// the tolerance was. Closing commands that must still run stay.
func Reset(ctx context.Context, dir string, now time.Time, keep bool) (o ResetReport, err error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return o, fmt.Errorf("make the state directory: %w", err)
	}
	err = durable.AsOwner(filepath.Join(dir, FileName), func(path string) error {
		o, err = reset(ctx, path, now, keep)
		return err
	})
	if o.Aside != "" {
		o.Aside = filepath.Join(dir, filepath.Base(o.Aside))
	}
	return o, err
}

func reset(ctx context.Context, path string, now time.Time, keep bool) (o ResetReport, err error) {
	dir := filepath.Dir(path)
	lock, err := takeLock(ctx, dir, lockWait)
	if err != nil {
		return o, err
	}
	defer lock.Close()
	if o.Closing, err = salvageClosing(dir, now); err != nil {
		return o, fmt.Errorf("keep the closing commands: %w", err)
	}
	// Never with the leases that last until they are closed: the end of one may be
	// lost.
	leases, err := ReadKept(dir)
	if o.LeasesEnded = len(leases); o.LeasesEnded > 0 || err != nil {
		if _, err := SetKeptAside(dir, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return o, fmt.Errorf("set the recorded leases aside: %w", err)
		}
	}
	var c Contents
	if keep {
		var damaged *DamagedError
		if c, err = ReadFile(path); err != nil && !errors.As(err, &damaged) && !errors.Is(err, fs.ErrNotExist) {
			return o, err
		}
	}
	if _, err := os.Lstat(path); err == nil {
		aside := path + now.UTC().Format(".20060102T150405.000Z")
		// A second name, so that there is a file at every moment.
		if err := os.Link(path, aside); err != nil {
			return o, fmt.Errorf("keep the old state file: %w", err)
		}
		o.Aside = aside
	}
	o.Kept = c.Clients()
	kept := contents{entries: c.Entries, removed: c.removed, leases: c.Leases}
	if err := write(path, headerAfterLoss, kept); err != nil {
		return o, fmt.Errorf("write a new state file: %w", errors.Join(err, o.removeAside(path)))
	}
	return o, nil
}

// ResetReport is the result of Reset.
type ResetReport struct {
	Kept int // clients whose records are in the new file
	// LeasesEnded is the number of leases that lasted until they are closed: no
	// start opens them again.
	LeasesEnded int
	// Closing is the number of closing commands that must still run: the next start
	// runs them. A file that was damaged has only the readable ones now.
	Closing int
	Aside   string // the path of the old file; empty: there was none
}

// removeAside removes the second name of the old file, if the file still has its
// first one.
func (o ResetReport) removeAside(path string) error {
	if o.Aside == "" {
		return nil
	}
	old, err := os.Lstat(o.Aside)
	if err != nil {
		return err
	}
	if now, err := os.Lstat(path); err == nil && os.SameFile(old, now) {
		return os.Remove(o.Aside)
	}
	return fmt.Errorf("the old file is %s", o.Aside)
}
