// Package socketpath makes Unix sockets usable whose paths are longer than the
// kernel's address of a socket. Linux only.
package socketpath

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// most is the longest path in an address: sun_path, without its final zero.
const most = len(unix.RawSockaddrUnix{}.Path) - 1

// TooLongError reports a path that cannot be shortened.
type TooLongError struct {
	Path string
	err  error // of opening the directory; may be nil
}

func (e *TooLongError) Error() string {
	text := fmt.Sprintf("%s: the path of a socket has at most %d bytes, got %d", e.Path, most, len(e.Path))
	if e.err != nil {
		text += ": " + e.err.Error()
	}
	return text
}

func (e *TooLongError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *TooLongError) Hint() string { return "choose a shorter path for the socket" }

// Keep returns a path by which a socket can be made. A path that is too long
// leads through the open directory, which stays open as long as the process.
func Keep(path string) (short string, err error) {
	short, _, err = shorten(path)
	return short, err
}

// Use calls f with a path by which a socket can be reached. Errors of f name the
// full path. f must not use the path after the call.
func Use(path string, f func(short string) error) error {
	short, directory, err := shorten(path)
	if err != nil {
		return err
	}
	if directory >= 0 {
		defer unix.Close(directory)
	}
	err = f(short)
	var op *net.OpError
	if short != path && errors.As(err, &op) {
		op.Addr = &net.UnixAddr{Name: path, Net: op.Net}
	}
	return err
}

// shorten returns the directory that it has opened; -1: none.
func shorten(path string) (short string, directory int, err error) {
	if len(path) <= most {
		return path, -1, nil
	}
	dir, name := filepath.Split(path)
	directory, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	short = fmt.Sprintf("/proc/self/fd/%d/%s", directory, name)
	_, err = os.Stat(filepath.Dir(short)) // fails without /proc
	if err != nil || len(short) > most {
		unix.Close(directory)
		return "", -1, &TooLongError{path, err}
	}
	return short, directory, nil
}
