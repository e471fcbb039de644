//go:build linux || darwin

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/terminal"
)

// passer passes an open connection to the program that reads the other end of
// standard output, a Unix socket: one byte, with the descriptor beside it
// (SCM_RIGHTS). ssh with ProxyUseFdpass, and "nc -F", have this interface.
type passer struct{ socket *os.File }

// newPasser returns an error if standard output is not a Unix socket.
func newPasser(stdout io.Writer) (*passer, error) {
	socket, ok := terminal.Raw(stdout).(*os.File)
	if ok {
		var address unix.Sockaddr
		err := control(socket, func(fd int) (err error) {
			address, err = unix.Getsockname(fd)
			return err
		})
		_, ok = address.(*unix.SockaddrUnix)
		ok = ok && err == nil
	}
	if !ok {
		return nil, cli.WithHint(errors.New("--fdpass: standard output is not a Unix socket, by which a program could receive the connection"),
			"for ssh, write \"ProxyUseFdpass yes\" beside the ProxyCommand in ~/.ssh/config; for other programs, omit --fdpass")
	}
	return &passer{socket}, nil
}

// pass passes the connection, in the state in which connect(2) leaves one: it blocks,
// and has no options but SO_KEEPALIVE, with the times of the system, as ssh sets it on
// its own connections. Afterwards the caller may only close conn.
func (p *passer) pass(ctx context.Context, conn *net.TCPConn) error {
	err := errors.Join(conn.SetNoDelay(false),
		conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}))
	if err != nil {
		return fmt.Errorf("prepare the connection: %w", err)
	}
	return control(conn, func(fd int) error {
		// The receiver shares this mode.
		if err := unix.SetNonblock(fd, false); err != nil {
			return fmt.Errorf("prepare the connection: %w", os.NewSyscallError("fcntl", err))
		}
		if err := p.send(ctx, fd); err != nil {
			return fmt.Errorf("pass the connection: %w", err)
		}
		return nil
	})
}

// send sends a descriptor. It waits while the socket is full.
func (p *passer) send(ctx context.Context, fd int) error {
	return control(p.socket, func(socket int) error {
		for {
			err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(fd), nil, unix.MSG_DONTWAIT)
			switch err {
			case nil:
				return nil
			case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
			default:
				return os.NewSyscallError("sendmsg", err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			unix.Poll([]unix.PollFd{{Fd: int32(socket), Events: unix.POLLOUT}}, int(pollTime.Milliseconds()))
		}
	})
}

// pollTime is how long a wait for a full socket lasts at most, before the program looks
// whether it was interrupted.
const pollTime = 100 * time.Millisecond

// control calls f with the descriptor of a file or connection.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(controlErr, err)
}
