package prove

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of this package for connections, without the allocations of package
// net: strangers cause them.

// acceptor accepts the connections of a listener.
type acceptor struct {
	file *os.File // a duplicate of the listener's descriptor: package net reads none itself
	raw  syscall.RawConn
	fd   int
	name unix.RawSockaddrAny
	err  error
	call func(uintptr) bool
}

func newAcceptor(l syscall.Conn) (a *acceptor, err error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	failed := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(failed, os.NewSyscallError("fcntl", err)); err != nil {
		return nil, err
	}
	a = &acceptor{file: os.NewFile(uintptr(fd), "listener")}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		a.file.Close()
		return nil, err
	}
	a.call = func(fd uintptr) bool {
		size := uint32(unsafe.Sizeof(a.name))
		n, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&a.name)), uintptr(unsafe.Pointer(&size)),
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if a.fd, a.err = int(n), nil; errno != 0 {
			a.err = errno
		}
		return errno != unix.EAGAIN
	}
	return a, nil
}

// accept waits for a connection. os.ErrClosed means that the acceptor is closed; with
// another error, a later call may succeed.
func (a *acceptor) accept() (fd int, from netip.Addr, err error) {
	if a.raw.Read(a.call) != nil {
		return -1, netip.Addr{}, os.ErrClosed
	}
	if a.err != nil {
		return -1, netip.Addr{}, os.NewSyscallError("accept4", a.err)
	}
	return a.fd, addressOf(&a.name), nil
}

// addressOf returns an address in the form of grants: see access.Numbered.
func addressOf(name *unix.RawSockaddrAny) netip.Addr {
	switch name.Addr.Family {
	case unix.AF_INET:
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr)
	case unix.AF_INET6:
		in6 := (*unix.RawSockaddrInet6)(unsafe.Pointer(name))
		a := netip.AddrFrom16(in6.Addr).Unmap()
		if in6.Scope_id != 0 && a.Is6() {
			a = a.WithZone(strconv.FormatUint(uint64(in6.Scope_id), 10))
		}
		return a
	}
	return netip.Addr{}
}

// receive reads into b. It returns 0 if nothing has come, and an error if the other side
// has ended the connection.
func receive(fd int, b []byte) (int, error) {
	n, err := unix.Read(fd, b)
	switch {
	case n > 0:
		return n, nil
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0, nil
	case err == nil:
		return 0, unix.ECONNRESET
	}
	return 0, err
}

// send sends all of b, which a new connection has room for.
func send(fd int, b []byte) error {
	n, err := unix.Write(fd, b)
	if err == nil && n < len(b) {
		err = unix.ENOBUFS
	}
	return err
}

var lingerZero = unix.Linger{Onoff: 1}

// reset ends a connection without a byte, and without a FIN.
func reset(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &lingerZero)
	unix.Close(fd)
}

// connOf returns the connection of a descriptor, which it closes in any case. The
// connection has the options of accepted ones. ENOTCONN means that the other side has
// reset it.
func connOf(fd int) (*net.TCPConn, error) {
	unix.SetNonblock(fd, false) // so that the runtime's poller does not get the file, too; FileConn undoes it
	f := os.NewFile(uintptr(fd), "connection")
	c, err := net.FileConn(f) // duplicates the descriptor
	if err != nil {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &lingerZero)
		f.Close()
		return nil, err
	}
	f.Close()
	tcp, ok := c.(*net.TCPConn)
	switch {
	case !ok:
		c.Close()
		return nil, errors.New("not a TCP connection")
	case tcp.RemoteAddr() == nil: // its bytes can still be read, and would be those of no address
		tcp.Close()
		return nil, unix.ENOTCONN
	}
	return tcp, nil
}
