package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sallyport/sessions/durable"
)

// nonceSkip is how many nonces the last attempt skips: more than a restored or copied
// profile is likely to lack.
const nonceSkip = 1 << 16

// nonceCount is the number of nonces of a secret.
const nonceCount = 1 << 32

// ExhaustedError is the error of a client that has used all nonces.
type ExhaustedError struct{ Client string }

func (e *ExhaustedError) Error() string {
	return fmt.Sprintf("client %s has used all 4,294,967,296 nonces of its secret", e.Client)
}

// Hint returns what to do.
func (e *ExhaustedError) Hint() string {
	return "nothing was sent; ask the administrator for a new identifier and secret"
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

// NonceFile is the file with the next nonce of one client of one server. Several
// processes may use it at a time.
type NonceFile struct {
	Path  string
	First uint32 // the next nonce if the file does not exist
}

// Reserve reserves n consecutive nonces that it never returned before, and returns the
// first. When it returns, the record is on stable storage: a crash at any time can
// lose nonces, but never repeats one. It skips the next skip nonces, if enough are
// left. An ExhaustedError or a DamagedError leaves the file unchanged. All other
// errors are a NonceError or the error of ctx.
func (f NonceFile) Reserve(ctx context.Context, client string, n int, skip uint32) (base uint32, err error) {
	if _, err := os.Stat(f.Path); err != nil {
		if err := durable.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
			return 0, &NonceError{f.Path, err}
		}
	}
	lock, err := durable.TakeLock(ctx, f.Path+".lock", f.Path, 10*time.Millisecond)
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, &NonceError{f.Path, fmt.Errorf("lock the file: %w", err)}
	}
	defer lock.Close()
	next, err := f.read()
	if err != nil {
		return 0, err
	}
	if next+uint64(skip)+uint64(n) <= nonceCount {
		next += uint64(skip)
	}
	if next+uint64(n) > nonceCount {
		return 0, &ExhaustedError{Client: client}
	}
	if err := durable.WriteFile(f.Path, []byte(formatNonce(next+uint64(n))), 0o600); err != nil {
		return 0, &NonceError{f.Path, fmt.Errorf("record the nonces before they are sent: %w", err)}
	}
	return uint32(next), nil
}

// read returns the next nonce, or First if the file does not exist.
func (f NonceFile) read() (uint64, error) {
	text, err := durable.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return uint64(f.First), nil
	}
	if err != nil {
		return 0, &NonceError{f.Path, err}
	}
	next, err := parseNonce(string(text))
	if err != nil {
		return 0, &DamagedError{Path: f.Path, err: err}
	}
	return next, nil
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

const nonceHeader = "sallyport-nonce 1\n"

func formatNonce(next uint64) string {
	return nonceHeader + "next " + strconv.FormatUint(next, 10) + "\n"
}

var errNewer = errors.New("a newer version of sallyport wrote this nonce file")

func parseNonce(text string) (uint64, error) {
	const expected = "not a nonce file: expected the lines %q and \"next NUMBER\""
	version, rest, ok := strings.Cut(text, "\n")
	if !ok || !strings.HasPrefix(version, "sallyport-nonce ") {
		return 0, fmt.Errorf(expected, strings.TrimSpace(nonceHeader))
	}
	if version+"\n" != nonceHeader {
		return 0, errNewer
	}
	next, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(rest, "next "), "\n"), 10, 64)
	if err != nil || next > nonceCount || formatNonce(next) != text {
		return 0, fmt.Errorf(expected, strings.TrimSpace(nonceHeader))
	}
	return next, nil
}
