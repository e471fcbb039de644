package heldport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Control sets options of a socket, as net.ListenConfig.Control does.
type Control func(network, address string, c syscall.RawConn) error

// TCP is a TCP port that this process holds.
type TCP struct {
	fd       int
	address  string
	addr     netip.AddrPort
	link     uint32 // index of the interface of a link-local address
	control  Control
	listener net.Listener // nil: closed
}

// BindTCP binds a port, closed. The host is empty, for all addresses, or an IP
// address. Control is called before the port is bound, and each time before it
// listens. The error is an InUseError if another program has the port.
func BindTCP(address string, control Control) (*TCP, error) {
	addr, err := parse(address)
	if err != nil {
		return nil, err
	}
	t := &TCP{address: address, addr: addr, control: control}
	err = t.bind(false)
	if errors.Is(err, unix.EADDRINUSE) {
		// Perhaps only connections of an earlier run use the port: they have
		// SO_REUSEADDR on. But other programs' sockets may have it, too.
		if others := users("tcp", addr); others != "" {
			return nil, &InUseError{addr.String(), others, err}
		}
		err = t.bind(true)
	}
	if err != nil {
		return nil, inUse("tcp", addr, err)
	}
	return t, nil
}

// bind makes the socket. Between the bind and the end of reuse no other program
// can listen: it would need a socket that was bound before, and there is none.
func (t *TCP) bind(reuse bool) error {
	fd, name, err := socket(unix.SOCK_STREAM, t.addr)
	if err != nil {
		return err
	}
	t.fd = fd
	if in6, ok := name.(*unix.SockaddrInet6); ok {
		t.link = in6.ZoneId
	}
	if err = t.control("tcp", t.address, rawFD(fd)); err == nil && reuse {
		err = set(fd, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, name))
	}
	if err == nil && reuse {
		err = set(fd, unix.SO_REUSEADDR, 0)
	}
	if err == nil {
		err = set(fd, unix.SO_REUSEPORT, 1)
	}
	if err != nil {
		unix.Close(fd)
	}
	return err
}

// Stale reports whether the port is bound at an interface that no longer exists:
// the caller must close the port, and bind it again.
func (t *TCP) Stale() bool {
	link, err := linkOf(t.addr.Addr())
	return err != nil || link != t.link
}

// backlog is more than the usual value of net.core.somaxconn, which limits it.
const backlog = 1<<16 - 1

// Listen opens the port, until StopListening: closing only the listener leaves
// the port open, with no program that accepts.
func (t *TCP) Listen() (net.Listener, error) {
	if t.listener != nil {
		return t.listener, nil
	}
	if err := t.control("tcp", t.address, rawFD(t.fd)); err != nil {
		return nil, err
	}
	err := unix.Listen(t.fd, backlog)
	if errors.Is(err, unix.EADDRINUSE) {
		err = t.listenReusing()
	}
	if err != nil {
		return nil, inUse("tcp", t.addr, os.NewSyscallError("listen", err))
	}
	if t.listener, err = t.wrap(); err != nil {
		unix.Shutdown(t.fd, unix.SHUT_RD)
		return nil, err
	}
	return t.listener, nil
}

// listenReusing listens despite connections of an earlier run as another user,
// or of an earlier release: they do not share the port by SO_REUSEPORT.
func (t *TCP) listenReusing() error {
	if err := set(t.fd, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	err := unix.Listen(t.fd, backlog)
	return errors.Join(err, set(t.fd, unix.SO_REUSEADDR, 0))
}

func (t *TCP) wrap() (net.Listener, error) {
	fd, err := unix.FcntlInt(uintptr(t.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), t.address)
	defer f.Close()
	return net.FileListener(f) // duplicates the descriptor
}

// StopListening closes the port, and keeps it bound. Accepted connections
// continue.
func (t *TCP) StopListening() error {
	if t.listener == nil {
		return nil
	}
	err := t.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // the caller of Accept may have closed it already
	}
	t.listener = nil
	// A socket that no longer listens keeps its port (tcp_disconnect).
	return errors.Join(err, os.NewSyscallError("shutdown", unix.Shutdown(t.fd, unix.SHUT_RD)))
}

// Close releases the port.
func (t *TCP) Close() error {
	err := t.StopListening()
	return errors.Join(err, unix.Close(t.fd))
}

// Accepted sets up a connection that was accepted at a held port, so that it
// does not prevent the next run of the server from binding the port.
func Accepted(c syscall.Conn) error {
	r, err := c.SyscallConn()
	if err != nil {
		return err
	}
	failed := r.Control(func(fd uintptr) { err = set(int(fd), unix.SO_REUSEADDR, 1) })
	return errors.Join(failed, err)
}
