//go:build linux || darwin

package client

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// canBeginEarly reports whether beginEarly works on this system.
const canBeginEarly = true

// beginEarly begins a connection to a service, and does not wait for it.
func beginEarly(service netip.AddrPort) *earlyConn {
	if !service.IsValid() {
		return nil
	}
	fd, err := beginConnect(service, 0)
	if err != nil {
		return nil
	}
	return newEarlyConn(fd)
}

// connectAnswer returns what the service has answered to the SYN.
func connectAnswer(fd int) before {
	switch done, err := answerOf(fd); {
	case !done:
		return beforeSilent
	case err == nil:
		return beforeOpen
	case refused(err):
		return beforeRefused
	}
	return beforeUnknown
}

// awaitEvent waits until the peer has answered the SYN, or, on a connection, has sent
// data or closed it.
func awaitEvent(fd int, connected bool, wait time.Duration) {
	event := unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	if connected {
		event.Events = unix.POLLIN
	}
	unix.Poll([]unix.PollFd{event}, int(wait.Milliseconds())+1)
}

// peek reports whether the peer has sent data, or closed the connection.
func peek(fd int) (data, closed bool) {
	var b [1]byte
	n, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK)
	return n > 0, n <= 0 && err != syscall.EAGAIN && err != syscall.EINTR
}

func closeFD(fd int) { syscall.Close(fd) }
