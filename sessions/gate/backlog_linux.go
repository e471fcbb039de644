package gate

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// connectionsWait reports whether the kernel has accepted connections that the
// listener has not returned yet. The clients believe that they are connected.
func connectionsWait(l net.Listener) bool {
	waiting := false
	control(l, func(fd int) {
		// Of a listening socket this is the length of the accept queue.
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		waiting = err == nil && info.Unacked > 0
	})
	return waiting
}

// datagramsWait reports whether unread datagrams have arrived.
func datagramsWait(c *net.UDPConn) bool {
	waiting := false
	control(c, func(fd int) {
		n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
		waiting = err == nil && n > 0
	})
	return waiting
}

func control(socket any, f func(fd int)) {
	conn, ok := socket.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
