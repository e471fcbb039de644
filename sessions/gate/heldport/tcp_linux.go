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

// TCP is a port of TCP that is this process's.
type TCP struct {
	fd       int
	address  string
	at       netip.AddrPort
	control  Control
	listener net.Listener // nil: closed
}

// BindTCP takes a port, closed. The host is empty, for all addresses, or an IP
// address. Control is called before the port is bound, and each time before it
// listens. The error is an InUseError if another program has it.
func BindTCP(address string, control Control) (*TCP, error) {
	at, err := parse(address)
	if err != nil {
		return nil, err
	}
	t := &TCP{address: address, at: at, control: control}
	err = t.bind(false)
	if errors.Is(err, unix.EADDRINUSE) {
		// By connections of an earlier run, if they are all that is there: they
		// have SO_REUSEADDR on. Others' sockets may have it, too.
		if others := users("tcp", at); others != "" {
			return nil, &InUseError{at.String(), others, err}
		}
		err = t.bind(true)
	}
	if err != nil {
		return nil, inUse("tcp", at, err)
	}
	return t, nil
}

// bind makes the socket. Between the bind and the end of reuse nobody else can
// listen: that takes a socket that was bound before, of which there is none.
func (t *TCP) bind(reuse bool) error {
	fd, name, err := socket(unix.SOCK_STREAM, t.at)
	if err != nil {
		return err
	}
	t.fd = fd
	if err = t.control("tcp", t.address, raw(fd)); err == nil && reuse {
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

// backlog is more than net.core.somaxconn most often is, which bounds it.
const backlog = 1<<16 - 1

// Listen opens the port, until Hide: to close the listener alone leaves the
// port open, without anybody to accept.
func (t *TCP) Listen() (net.Listener, error) {
	if t.listener != nil {
		return t.listener, nil
	}
	if err := t.control("tcp", t.address, raw(t.fd)); err != nil {
		return nil, err
	}
	err := unix.Listen(t.fd, backlog)
	if errors.Is(err, unix.EADDRINUSE) {
		err = t.listenBesideOld()
	}
	if err != nil {
		return nil, inUse("tcp", t.at, os.NewSyscallError("listen", err))
	}
	if t.listener, err = t.wrap(); err != nil {
		unix.Shutdown(t.fd, unix.SHUT_RD)
		return nil, err
	}
	return t.listener, nil
}

// listenBesideOld is for what an earlier run has left as another user, or an
// earlier release: it does not share the port by SO_REUSEPORT.
func (t *TCP) listenBesideOld() error {
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
	return net.FileListener(f) // with a descriptor of its own
}

// Hide closes the port, and keeps it. Connections live on that were accepted.
func (t *TCP) Hide() error {
	if t.listener == nil {
		return nil
	}
	err := t.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // whoever accepts may have closed it already
	}
	t.listener = nil
	// A socket that does not listen any more keeps its port (tcp_disconnect).
	return errors.Join(err, os.NewSyscallError("shutdown", unix.Shutdown(t.fd, unix.SHUT_RD)))
}

// Close gives the port up.
func (t *TCP) Close() error {
	err := t.Hide()
	return errors.Join(err, unix.Close(t.fd))
}

// Accepted has a connection that was accepted at a held port not keep the next
// run of the server from taking the port.
func Accepted(c syscall.Conn) error {
	r, err := c.SyscallConn()
	if err != nil {
		return err
	}
	failed := r.Control(func(fd uintptr) { err = set(int(fd), unix.SO_REUSEADDR, 1) })
	return errors.Join(failed, err)
}
