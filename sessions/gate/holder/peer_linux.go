package holder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/sessions/socketpath"
)

// socketKind is SOCK_SEQPACKET, which preserves message boundaries.
const socketKind = "unixpacket"

// Listen makes the socket at which servers connect to a Holder. No other user
// can ever connect to it. Listen replaces a socket that a crash has left, but
// not one at which a holder answers.
func Listen(ctx context.Context, path string) (*net.UnixListener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != os.ModeSocket:
		return nil, fmt.Errorf("%s: expected a socket or no file, got %s", path, info.Mode())
	default:
		conn, err := dial(ctx, path)
		if err == nil {
			conn.Close()
			return nil, fmt.Errorf("%s: another holder answers there", path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return failed
	}}
	short, err := socketpath.Keep(path)
	if err != nil {
		return nil, err
	}
	l, err := lc.Listen(ctx, socketKind, short)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

func dial(ctx context.Context, path string) (conn net.Conn, err error) {
	err = socketpath.Use(path, func(short string) error {
		conn, err = new(net.Dialer).DialContext(ctx, socketKind, short)
		return err
	})
	return conn, err
}

// Dialer returns a function that connects to the holder at a path. The holder
// must run as root, as the user of this process, or as one of these users:
// another user's process could falsely report that everything is closed.
func Dialer(path string, users ...uint32) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx, path)
		if err != nil {
			return nil, err
		}
		uid, err := userOf(conn)
		if err == nil && uid != 0 && uid != uint32(os.Geteuid()) && !slices.Contains(users, uid) {
			err = fmt.Errorf("%s: expected a holder of root or of user %d, got one of user %d", path, os.Geteuid(), uid)
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

// Answers reports whether a trusted holder (see Dialer) answers at a path.
func Answers(ctx context.Context, path string, users ...uint32) bool {
	conn, err := Dialer(path, users...)(ctx)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// userOf returns the user of the other end: at the time of its connect or
// listen.
func userOf(conn net.Conn) (uid uint32, err error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var found *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		found, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, fmt.Errorf("read the credentials of the other end: %w", failed)
	}
	return found.Uid, nil
}

// mayServe returns an error if the server's user is not allowed.
func mayServe(conn net.Conn, users []uint32) error {
	uid, err := userOf(conn)
	if err == nil && uid != 0 && !slices.Contains(users, uid) {
		err = fmt.Errorf("expected a server of root or of the users %v, got one of user %d", users, uid)
	}
	return err
}
