//go:build linux || darwin

package client

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// canBeginEarly reports whether beginEarly works on this system.
const canBeginEarly = true

// beginEarly begins a connection to a service, and does not wait for it. Package net
// cannot do that: its connect may run after the client has sent the knocks.
func beginEarly(service netip.AddrPort) *earlyConn {
	if !service.IsValid() {
		return nil
	}
	family, address := syscall.AF_INET6, syscall.Sockaddr(nil)
	if a := service.Addr(); a.Is4() {
		family, address = syscall.AF_INET, &syscall.SockaddrInet4{Port: int(service.Port()), Addr: a.As4()}
	} else {
		v6 := &syscall.SockaddrInet6{Port: int(service.Port()), Addr: a.As16()}
		if a.Zone() != "" {
			link, err := net.InterfaceByName(a.Zone())
			if err != nil {
				return nil
			}
			v6.ZoneId = uint32(link.Index)
		}
		address = v6
	}
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil
	}
	if err = syscall.SetNonblock(fd, true); err == nil {
		halfOpen(fd)
		err = syscall.Connect(fd, address)
	}
	if err != nil && err != syscall.EINPROGRESS {
		syscall.Close(fd)
		return nil
	}
	return newEarlyConn(fd)
}

// connectAnswer returns what the service has answered to the SYN.
func connectAnswer(fd int) before {
	errno, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	switch {
	case err == nil && syscall.Errno(errno) == syscall.ECONNREFUSED:
		return beforeRefused
	case err != nil || errno != 0:
		return beforeUnknown
	}
	if _, err := syscall.Getpeername(fd); err != nil {
		return beforeSilent
	}
	return beforeOpen
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
