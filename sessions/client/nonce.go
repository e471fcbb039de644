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
	"strings"
	"syscall"
	"time"

	"sallyport/sessions/durable"
)

// nonceSkip is how far the nonces after two failed attempts are above jumpTarget: more
// than a device uses up beyond one nonce a second.
const nonceSkip = 1 << 24

// upperHalf is the lowest nonce to which a client jumps. Clients begin below it.
const upperHalf = 1 << 31

// nonceCount is the number of nonces of a secret.
const nonceCount = 1 << 32

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
	case errors.Is(e.err, syscall.ENOSPC):
		return reason + "free space on the disk of " + filepath.Dir(e.Path)
	}
	return reason + "make " + filepath.Dir(e.Path) + " writable for this user, or set XDG_STATE_HOME to a directory that is"
}

// NonceFile is the file with the next nonce of one secret of a client. Several
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

// Reserve reserves n consecutive nonces that it never returned before, and returns the
// first. When it returns, the record is on stable storage: a crash at any time can
// lose nonces, but never repeats one.
//
// The server may have accepted higher nonces: from another device with the same
// profile, or before this device got its files back from a backup. So after an attempt
// that opened nothing, Reserve moves to the upper half, to a nonce that grows by one
// each second. After two such attempts it moves nonceSkip above that. From then on the
// nonces grow with the clock, so that devices with one profile pass each other, and a
// client that fails for years does not use up its nonces. Moved reports a move after an
// attempt that opened nothing. An ExhaustedError or a DamagedError leaves the file
// unchanged. All other errors are a NonceError or the error of ctx.
func (f NonceFile) Reserve(ctx context.Context, client string, n int, now time.Time) (base uint32, moved bool, err error) {
	err = f.update(ctx, func(r *nonceRecord) error {
		moved = r.move(now, n)
		if r.next+uint64(n) > nonceCount {
			return &ExhaustedError{Client: client}
		}
		base = uint32(r.next)
		r.next += uint64(n)
		r.unopened = min(r.unopened+1, 2)
		return nil
	})
	return base, moved, err
}

// ReserveMore reserves n nonces for one more sequence of the same attempt.
func (f NonceFile) ReserveMore(ctx context.Context, client string, n int) (base uint32, err error) {
	err = f.update(ctx, func(r *nonceRecord) error {
		if r.next+uint64(n) > nonceCount {
			return &ExhaustedError{Client: client}
		}
		base = uint32(r.next)
		r.next += uint64(n)
		return nil
	})
	return base, err
}

// Opened records that the service has opened after the last attempt.
func (f NonceFile) Opened(ctx context.Context) error {
	return f.update(ctx, func(r *nonceRecord) error { r.unopened = 0; return nil })
}

// update changes the record while no other process does.
func (f NonceFile) update(ctx context.Context, change func(*nonceRecord) error) error {
	if _, err := os.Stat(f.Path); err != nil {
		if err := durable.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
			return &NonceError{f.Path, err}
		}
	}
	lock, err := durable.TakeLock(ctx, f.Path+".lock", f.Path, 10*time.Millisecond)
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
	if err := change(&after); err != nil || after == before {
		return err
	}
	if err := durable.WriteFile(f.Path, []byte(after.String()), 0o600); err != nil {
		return &NonceError{f.Path, fmt.Errorf("record the nonces before they are sent: %w", err)}
	}
	return nil
}

// read returns the record, or a new one if the file does not exist.
func (f NonceFile) read() (r nonceRecord, err error) {
	text, err := durable.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) && f.Earlier != "" {
		if err = durable.Rename(f.Earlier, f.Path); err == nil {
			text, err = durable.ReadFile(f.Path)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nonceRecord{next: uint64(cmp.Or(f.First, f.Drawn))}, nil
	}
	if err != nil {
		return r, &NonceError{f.Path, err}
	}
	if r, err = parseNonce(string(text)); err != nil {
		return r, &DamagedError{Path: f.Path, err: err}
	}
	r.next = max(r.next, uint64(f.First))
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

// nonceRecord is the content of a nonce file.
type nonceRecord struct {
	next     uint64
	unopened int // attempts since something opened: 0, 1, or 2 for more
}

// move moves the next nonce ahead of those that the server may have accepted. It
// leaves n nonces at least, if there are so many. Failed reports that attempts without
// success are the reason, and not the time that has passed.
func (r *nonceRecord) move(now time.Time, n int) (failed bool) {
	low := jumpTarget(now)
	high := low + nonceSkip
	aboveLow, aboveHigh := r.next >= upperHalf, r.next >= low+nonceSkip/2
	to := r.next
	switch {
	case r.unopened > 1 || aboveHigh:
		to, failed = max(to, high), !aboveHigh
	case r.unopened > 0 || aboveLow:
		to, failed = max(to, low), !aboveLow
	}
	if to == r.next || to+uint64(n) > nonceCount {
		return false
	}
	r.next = to
	return failed
}

// jumpTarget is upperHalf plus the seconds since 2020: devices with one profile that
// jump in turn pass each other. Whatever the clock shows, 1/16 of all nonces are left.
func jumpTarget(now time.Time) uint64 {
	const since, most = 1_577_836_800, upperHalf - nonceCount/16
	return upperHalf + uint64(min(max(now.Unix()-since, 0), most))
}

// The versions of the file. Version 1 has only the next nonce.
const (
	nonceHeader1 = "sallyport-nonce 1\n"
	nonceHeader  = "sallyport-nonce 2\n"
)

func (r nonceRecord) String() string {
	return fmt.Sprintf("%snext %d\nunopened %d\n", nonceHeader, r.next, r.unopened)
}

var errNewer = errors.New("a newer version of sallyport wrote this nonce file")

func parseNonce(text string) (r nonceRecord, err error) {
	const expected = "not a nonce file: expected the lines %q and \"next NUMBER\""
	wrong := fmt.Errorf(expected, strings.TrimSpace(nonceHeader))
	version, rest, ok := strings.Cut(text, "\n")
	if !ok || !strings.HasPrefix(version, "sallyport-nonce ") {
		return r, wrong
	}
	switch version + "\n" {
	case nonceHeader1:
		fmt.Sscanf(rest, "next %d\n", &r.next)
		ok = rest == fmt.Sprintf("next %d\n", r.next)
	case nonceHeader:
		fmt.Sscanf(rest, "next %d\nunopened %d\n", &r.next, &r.unopened)
		ok = text == r.String()
	default:
		return r, errNewer
	}
	if !ok || r.next > nonceCount || r.unopened < 0 || r.unopened > 2 {
		return nonceRecord{}, wrong
	}
	return r, nil
}
