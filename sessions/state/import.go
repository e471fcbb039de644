package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sallyport/sessions/durable"
)

// Import makes the state file of a directory with a content. If there is one already, the
// error is fs.ErrExist.
//
// No nonce is accepted twice: the server may have used others since the export, so the next
// start refuses what a start after a loss refuses. Nothing opens: the file's leases only
// name connections that a revocation must cut. Leases that would be opened again are set
// aside, as by Reset.
func Import(ctx context.Context, dir string, c Contents, now time.Time) (leasesEnded int, err error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("make the state directory: %w", err)
	}
	err = durable.AsOwner(filepath.Join(dir, FileName), func(path string) error {
		leasesEnded, err = importTo(ctx, path, c, now)
		return err
	})
	return leasesEnded, err
}

func importTo(ctx context.Context, path string, c Contents, now time.Time) (leasesEnded int, err error) {
	dir := filepath.Dir(path)
	lock, err := takeLock(ctx, dir, lockWait)
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	if _, err := os.Lstat(path); err == nil {
		return 0, &fs.PathError{Op: "make", Path: path, Err: fs.ErrExist}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	leases, err := ReadKept(dir)
	if leasesEnded = len(leases); leasesEnded > 0 || err != nil {
		if _, err := SetKeptAside(dir, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("set the recorded leases aside: %w", err)
		}
	}
	to := contents{entries: c.Entries, removed: c.removed, leases: c.Leases}
	if err := write(path, headerAfter(c), to); err != nil {
		durable.Remove(path) // it may have its name already: the caller can repeat the command
		return 0, fmt.Errorf("write the state file %s: %w", path, err)
	}
	return leasesEnded, nil
}
