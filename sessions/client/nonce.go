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
	"time"

	"sallyport/sessions/durable"
)

// jump is how far the last attempt moves the nonce ahead: further than a
// restored or copied profile is likely to have fallen behind.
const jump = 1 << 16

// nonces is how many there are in the life of a secret.
const nonces = 1 << 32

// ExhaustedError says that a client's nonces are used up.
type ExhaustedError struct{ Client string }

func (e *ExhaustedError) Error() string {
	return fmt.Sprintf("the nonces of client %s are used up: all 4,294,967,296 belong to the past", e.Client)
}

// Hint says what to do.
func (e *ExhaustedError) Hint() string {
	return "ask the administrator for a new identifier and secret; nothing was sent"
}

// NonceError says that a nonce file cannot be read or written. Nothing was
// sent.
type NonceError struct {
	Path string
	err  error
}

func (e *NonceError) Error() string { return fmt.Sprintf("nonce file: %v", e.err) }

func (e *NonceError) Unwrap() error { return e.err }

// Hint says what to do.
func (e *NonceError) Hint() string {
	return "a knock needs its nonce on disk before it is sent: make " + filepath.Dir(e.Path) + " writable for this user"
}

// NonceFile keeps the next nonce of one client of one server. It may be used
// by several processes at a time.
type NonceFile struct {
	Path  string
	First uint32 // what a file that is not there yet stands for
}

// Reserve hands out n consecutive nonces that were never handed out before,
// and returns the first. When it returns, the file on stable storage says so:
// a crash at any moment loses nonces, and never repeats one. A skip moves
// ahead as far, if as many are left. An ExhaustedError leaves the file as it
// is, and so does a DamagedError. Every other error is a NonceError, or the end
// of ctx.
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
		return 0, &NonceError{f.Path, fmt.Errorf("lock it: %w", err)}
	}
	defer lock.Close()
	next, err := f.read()
	if err != nil {
		return 0, err
	}
	if next+uint64(skip)+uint64(n) <= nonces {
		next += uint64(skip)
	}
	if next+uint64(n) > nonces {
		return 0, &ExhaustedError{Client: client}
	}
	if err := durable.WriteFile(f.Path, []byte(formatNonce(next+uint64(n))), 0o600); err != nil {
		return 0, &NonceError{f.Path, fmt.Errorf("record the nonces before they are sent: %w", err)}
	}
	return uint32(next), nil
}

// read returns the next nonce, or the first if there is no file yet.
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

// DamagedError says that a nonce file is not what Reserve wrote.
type DamagedError struct {
	Path string
	err  error
}

func (e *DamagedError) Error() string { return e.Path + ": " + e.err.Error() }

// Hint says what to do.
func (e *DamagedError) Hint() string {
	if errors.Is(e.err, errNewer) {
		return "update sallyport; the file is not damaged"
	}
	return "restore it from a backup; or have the administrator make a new profile, which begins above all nonces used (\"sallyportd client profile\"), and then remove the file"
}

const nonceHeader = "sallyport-nonce 1\n"

func formatNonce(next uint64) string {
	return nonceHeader + "next " + strconv.FormatUint(next, 10) + "\n"
}

var errNewer = errors.New("a newer version of sallyport wrote this nonce file")

func parseNonce(text string) (uint64, error) {
	const expected = "this is not a nonce file: expected the lines %q and \"next NUMBER\""
	version, rest, ok := strings.Cut(text, "\n")
	if !ok || !strings.HasPrefix(version, "sallyport-nonce ") {
		return 0, fmt.Errorf(expected, strings.TrimSpace(nonceHeader))
	}
	if version+"\n" != nonceHeader {
		return 0, errNewer
	}
	next, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(rest, "next "), "\n"), 10, 64)
	if err != nil || next > nonces || formatNonce(next) != text {
		return 0, fmt.Errorf(expected, strings.TrimSpace(nonceHeader))
	}
	return next, nil
}
