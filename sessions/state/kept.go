package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sallyport/sessions/durable"
	"sallyport/sessions/gate/access"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// KeptFileName is the name of the file with the leases that last until they are
// closed. They are not in the file of nonces, because the two files fail in opposite
// directions: a reset must keep each nonce that is readable, and must not keep a lease
// that may have ended. If the end of a lease cannot be written, the whole file can be
// removed, which needs no space on the disk.
const KeptFileName = "open-leases"

// MaxKept is the maximum number of leases in the file.
const MaxKept = 4096

// Kept is a lease that lasts until it is closed, with the data that decide whether a
// server may open it again when it starts.
type Kept struct {
	Service   string
	Operation string          // its ID
	Client    wire.Identifier // zero: the operation belongs to no client
	Peer      access.Peer     // that the lease admits
	Address   netip.Addr      // that has requested it; zero: Peer is access.AnyAddress
	Anyone    bool            // the service was open to anyone
	Since     time.Time       // by the wall clock; whole seconds are kept
	// Fingerprints of the secrets of the operation and of the client.
	Secret, ClientSecret verify.Fingerprint
	End                  End // zero: it lasts until it is closed
}

// End is when a lease ends that a server had in force when it stopped. It ends at the
// earlier one of the two times, and with the kernel.
type End struct {
	Boot  string        // identifies the kernel's start
	Since time.Duration // since then, suspensions included
	Wall  int64         // Unix seconds
}

// ReadKept reads the leases that last until they are closed. No file means that
// there are none. A file that is not whole is a DamagedError, one of a later release
// a NewerError. A server may write the file meanwhile.
func ReadKept(dir string) ([]Kept, error) {
	path := filepath.Join(dir, KeptFileName)
	content, err := readBounded(path, maxKeptFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []Kept
	if err == nil {
		list, err = decodeKept(content)
	}
	var newer *NewerError
	switch {
	case err == nil:
		return list, nil
	case errors.As(err, &newer):
		newer.Path = path
		return nil, &keptError{newer}
	}
	return nil, &keptError{&DamagedError{path, err}}
}

// keptError is an error of the file of leases, whose remedies are not those of the
// nonces' file.
type keptError struct{ err error }

func (e *keptError) Error() string { return e.err.Error() }
func (e *keptError) Unwrap() error { return e.err }

// Hint returns a remedy.
func (e *keptError) Hint() string {
	return "its leases stay closed; to remove the file: sallyportd lease close --all"
}

// WriteKept replaces the leases of the file, or removes the file if there are none.
// When it returns nil, they are on stable storage. The caller must have the lock of
// the directory. After an error, the file has the old leases, or the new ones, and
// a power failure may change which.
func WriteKept(dir string, list []Kept) error {
	if len(list) == 0 {
		return DropKept(dir)
	}
	content, err := encodeKept(list)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, KeptFileName), content, 0o600)
}

// DropKept removes the file: no lease is opened again. It requires no space on the
// disk. When it returns nil, the file is gone on stable storage.
func DropKept(dir string) error {
	if err := durable.Remove(filepath.Join(dir, KeptFileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.AsOwner(filepath.Join(dir, KeptFileName), func(path string) error {
		return durable.SyncDirectory(filepath.Dir(path))
	})
}

// SetKeptAside renames the file, which is damaged or of another release, so that it
// is not used again. It returns the new path.
func SetKeptAside(dir string, now time.Time) (aside string, err error) {
	path := filepath.Join(dir, KeptFileName)
	aside = path + now.UTC().Format(".20060102T150405.000Z")
	return aside, durable.AsOwner(path, func(located string) error {
		return durable.Rename(located, filepath.Join(filepath.Dir(located), filepath.Base(aside)))
	})
}

// EditKept changes the leases of the file while no server runs: f gets the recorded
// ones, and returns those that stay. A file that cannot be read is an error or, with
// remove, it is removed. If a process has the lock of the directory, the error is a
// LockedError.
func EditKept(ctx context.Context, dir string, remove bool, f func([]Kept) []Kept) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // no server has ever run
	}
	lock, err := takeLock(ctx, dir, lockWait)
	if err != nil {
		return err
	}
	defer lock.Close()
	before, err := ReadKept(dir)
	switch {
	case err != nil && remove:
		return DropKept(dir)
	case err != nil:
		return err
	}
	after := f(slices.Clone(before))
	if len(after) == len(before) {
		return nil
	}
	return WriteKept(dir, after)
}

// readBounded reads a file of at most so many bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("expected at most %d bytes, got more", limit)
	}
	return content, err
}
