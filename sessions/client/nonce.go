package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sallyport/sessions/durable"
	"sallyport/sessions/syserror"
)

// lockRetry is the time between two attempts to lock the file.
const lockRetry = 10 * time.Millisecond

// ExhaustedError is the error of a client that has used all nonces.
type ExhaustedError struct{ Client string }

func (e *ExhaustedError) Error() string {
	return fmt.Sprintf("client %s has used all 4,294,967,296 nonces of its secret", e.Client)
}

// Hint returns what to do.
func (e *ExhaustedError) Hint() string {
	return "nothing was sent; ask the administrator for a new secret (\"sallyportd client rotate " + e.Client + "\"): its nonces are all unused"
}

// NonceError is the error of a nonce file that cannot be read or written. Nothing
// was sent.
type NonceError struct {
	Path string
	err  error
}

func (e *NonceError) Error() string { return fmt.Sprintf("nonce file: %v", e.err) }

func (e *NonceError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *NonceError) Hint() string {
	const reason = "the nonces of a knock must be on disk before it is sent: "
	var mounted *durable.MountedError
	switch {
	case errors.As(e.err, &mounted):
		return reason + mounted.Hint()
	case syserror.DiskFull.In(e.err):
		return reason + "free space on the disk of " + filepath.Dir(e.Path)
	}
	return reason + "make " + filepath.Dir(e.Path) + " writable for this user, or set XDG_STATE_HOME to a directory that is"
}

// NonceFile is the file with the used nonces of one secret of a client. Several
// processes may use it at a time.
type NonceFile struct {
	Path    string
	First   uint32 // all lower nonces are used; 0: that is not known
	Drawn   uint32 // the next nonce if the file does not exist, and First is 0
	Earlier string // the path that an earlier release used for the file; empty: none
}

// DrawNonce draws the first nonce of a secret from the lower half, so that a stranger
// cannot guess the client's next nonce.
func DrawNonce() (uint32, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("draw the first nonce: %w", err)
	}
	return binary.BigEndian.Uint32(b[:]) % upperHalf, nil
}

// Reserve reserves the nonces of an attempt: n consecutive ones that no call returned
// before. When it returns, the record is on stable storage: a crash at any time can
// lose nonces, but never repeats one. Moved reports that they are ahead of the next
// ones, since attempts have failed. An ExhaustedError or a DamagedError leaves the file
// unchanged. All other errors are a NonceError or the error of ctx.
//
// The server may have accepted higher nonces: from another device with the same
// profile, or before this device got its files back from a backup. It may also refuse
// nonces that are far ahead of those that it has accepted. See doc.go.
func (f NonceFile) Reserve(ctx context.Context, client string, n int, now time.Time) (base uint32, moved bool, err error) {
	a, err := f.reserve(ctx, client, n, now)
	return a.base, a.moved, err
}

func (f NonceFile) reserve(ctx context.Context, client string, n int, now time.Time) (a attemptNonces, err error) {
	err = f.update(ctx, func(r *nonceRecord) (err error) {
		ok := false
		if a, ok = r.reserve(now, n); !ok {
			return &ExhaustedError{Client: client}
		}
		r.unopened++
		return nil
	})
	return a, err
}

// reserveMore reserves n nonces for one more sequence of an attempt. Other: for the one
// with the other nonces.
func (f NonceFile) reserveMore(ctx context.Context, client string, n int, other bool) (base uint32, err error) {
	err = f.update(ctx, func(r *nonceRecord) error {
		ok := false
		if base, ok = r.more(other, n); !ok {
			return &ExhaustedError{Client: client}
		}
		return nil
	})
	return base, err
}

// reserveByClock reserves n nonces that go by the clock. Not ok: the client is further
// already.
func (f NonceFile) reserveByClock(ctx context.Context, n int, now time.Time) (base uint32, ok bool, err error) {
	err = f.update(ctx, func(r *nonceRecord) error {
		base, ok = r.takeByClock(now, n)
		return nil
	})
	return base, ok, err
}

// Opened records that the service has opened after the attempt with the n nonces from
// base. Certain: it was not open before.
func (f NonceFile) Opened(ctx context.Context, base uint32, n int, certain bool) error {
	return f.update(ctx, func(r *nonceRecord) error {
		r.open(base, n, certain)
		return nil
	})
}

// sent records that the n nonces from base, which go by the clock, may have opened
// something.
func (f NonceFile) sent(ctx context.Context, base uint32, n int) error {
	return f.update(ctx, func(r *nonceRecord) error {
		r.sent(base, n)
		return nil
	})
}

// unknown records that the result of the last attempt is not known: it counts neither
// as failed nor as opened.
func (f NonceFile) unknown(ctx context.Context) error {
	return f.update(ctx, func(r *nonceRecord) error {
		r.unopened = max(r.unopened-1, 0)
		return nil
	})
}

// update changes the record while no other process does.
func (f NonceFile) update(ctx context.Context, change func(*nonceRecord) error) error {
	if _, err := os.Stat(f.Path); err != nil {
		if err := durable.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
			return &NonceError{f.Path, err}
		}
	}
	lock, err := durable.TakeLock(ctx, f.Path+".lock", f.Path, lockRetry)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &NonceError{f.Path, fmt.Errorf("lock the file: %w", err)}
	}
	defer lock.Close()
	before, err := f.read()
	if err != nil {
		return err
	}
	after := before
	after.used = slices.Clone(before.used)
	if err := change(&after); err != nil || after.String() == before.String() {
		return err
	}
	after.compact()
	if err := durable.WriteFile(f.Path, []byte(after.String()), 0o600); err != nil {
		return &NonceError{f.Path, fmt.Errorf("record the nonces before they are sent: %w", err)}
	}
	return nil
}

// read returns the record, or a new one if the file does not exist.
func (f NonceFile) read() (r nonceRecord, err error) {
	text, err := readRegular(f.Path)
	if errors.Is(err, fs.ErrNotExist) && f.Earlier != "" {
		if err = durable.Rename(f.Earlier, f.Path); err == nil {
			text, err = readRegular(f.Path)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return newRecord(uint64(cmp.Or(f.First, f.Drawn))), nil
	}
	if err != nil {
		return r, &NonceError{f.Path, err}
	}
	if r, err = parseNonce(string(text)); err != nil {
		return r, &DamagedError{Path: f.Path, err: err}
	}
	r.raise(uint64(f.First))
	return r, nil
}

// DamagedError is the error of a nonce file that Reserve did not write.
type DamagedError struct {
	Path string
	err  error
}

func (e *DamagedError) Error() string { return e.Path + ": " + e.err.Error() }

// Hint returns what to do.
func (e *DamagedError) Hint() string {
	if errors.Is(e.err, errNewer) {
		return "update sallyport; the file is not damaged"
	}
	return "restore the file from a backup; or ask the administrator for a new profile, " +
		"which begins above all used nonces (\"sallyportd client profile\"), and then remove the file"
}
