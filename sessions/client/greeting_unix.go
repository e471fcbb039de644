//go:build linux || darwin

package client

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// awaitGreeting waits until the service sends data, closes the connection, or the
// deadline for reads is over. It leaves the data in the connection, so that another
// program can receive the connection and read all of it.
func awaitGreeting(c *net.TCPConn) (first []byte, came bool, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, false, fmt.Errorf("watch the connection: %w", err)
	}
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		for {
			n, _, failed = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
			if failed != syscall.EINTR {
				return failed != syscall.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return nil, false, err
	case failed != nil:
		return nil, false, os.NewSyscallError("recvfrom", failed)
	case n <= 0:
		return nil, false, io.EOF
	}
	return nil, true, nil
}

// canPeek reports whether unread has an answer on this system.
const canPeek = true

// unread reports whether a connection has unread data. It does not wait.
func unread(c *net.TCPConn) (data bool, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var n int
	var failed error
	err = raw.Control(func(fd uintptr) {
		n, _, failed = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0, cmp.Or(err, failed)
}
