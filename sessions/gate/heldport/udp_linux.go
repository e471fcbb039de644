package heldport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// UDP is a port of UDP that is this process's, at one address or at all that
// the host has.
type UDP struct {
	address string
	at      netip.AddrPort
	control Control
	held    map[netip.Addr]int // the sockets that keep the port
	conn    *net.UDPConn       // nil: closed
}

// BindUDP takes a port, closed, as BindTCP does. At all addresses, it is taken
// at those that the host has now: see Follow.
func BindUDP(address string, control Control) (*UDP, error) {
	at, err := parse(address)
	if err != nil {
		return nil, err
	}
	u := &UDP{address: address, at: at, control: control, held: map[netip.Addr]int{}}
	if err := u.Follow(); err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// Follow takes the port at addresses that the host has got since, and gives it
// up at those that are gone. The error tells where it could not be taken; it is
// held at all others.
func (u *UDP) Follow() error {
	want := []netip.Addr{u.at.Addr()}
	if u.at.Addr().IsUnspecified() {
		var err error
		if want, err = hostAddresses(); err != nil {
			return fmt.Errorf("list this host's addresses: %w", err)
		}
	}
	for a, fd := range u.held {
		if !slices.Contains(want, a) {
			unix.Close(fd)
			delete(u.held, a)
		}
	}
	var errs []error
	for _, a := range want {
		if _, ok := u.held[a]; ok {
			continue
		}
		fd, err := u.hold(netip.AddrPortFrom(a, u.at.Port()))
		switch {
		case err == nil:
			u.held[a] = fd
		case errors.Is(err, unix.EADDRNOTAVAIL) && u.at.Addr().IsUnspecified():
			// It is gone again, or not yet this host's: an event will follow.
		default:
			errs = append(errs, inUse("udp", netip.AddrPortFrom(a, u.at.Port()), err))
		}
	}
	return errors.Join(errs...)
}

// hold binds a socket that nobody's datagrams come to: it is connected to
// itself.
func (u *UDP) hold(at netip.AddrPort) (fd int, err error) {
	fd, name, err := socket(unix.SOCK_DGRAM, at)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	// Beside the socket that takes datagrams. Without it nobody's is borne, not
	// even another server's of the same user.
	if u.conn != nil {
		if err = set(fd, unix.SO_REUSEPORT, 1); err != nil {
			return -1, err
		}
	}
	if err = u.control("udp", at.String(), raw(fd)); err != nil {
		return -1, err
	}
	if err = os.NewSyscallError("bind", unix.Bind(fd, name)); err != nil {
		return -1, err
	}
	if err = os.NewSyscallError("connect", unix.Connect(fd, name)); err != nil {
		return -1, err
	}
	return fd, set(fd, unix.SO_REUSEPORT, 1)
}

// Listen opens the port. Hide closes the connection.
func (u *UDP) Listen() (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		var err error
		if failed := c.Control(func(fd uintptr) { err = set(int(fd), unix.SO_REUSEPORT, 1) }); failed != nil {
			return failed
		}
		return errors.Join(err, u.control(network, address, c))
	}}
	c, err := lc.ListenPacket(context.Background(), "udp", u.address)
	if err != nil {
		return nil, inUse("udp", u.at, err)
	}
	conn, ok := c.(*net.UDPConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%s: not a UDP socket", u.address)
	}
	u.conn = conn
	return conn, nil
}

// Hide closes the port, and keeps it.
func (u *UDP) Hide() error {
	if u.conn == nil {
		return nil
	}
	err := u.conn.Close()
	u.conn = nil
	return err
}

// Close gives the port up.
func (u *UDP) Close() {
	u.Hide()
	for _, fd := range u.held {
		unix.Close(fd)
	}
	clear(u.held)
}

// hostAddresses lists the addresses of this host, those of a link with its zone.
func hostAddresses() (all []netip.Addr, err error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		addresses, err := link.Addrs()
		if err != nil {
			continue // it is gone
		}
		for _, of := range addresses {
			n, ok := of.(*net.IPNet)
			if !ok {
				continue
			}
			a, ok := netip.AddrFromSlice(n.IP)
			if a = a.Unmap(); a.IsLinkLocalUnicast() && a.Is6() {
				a = a.WithZone(link.Name)
			}
			if ok && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all, nil
}
