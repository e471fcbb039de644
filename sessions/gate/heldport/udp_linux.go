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

// UDP is a UDP port that this process holds, at one address or at all addresses
// of the host.
type UDP struct {
	address string
	addr    netip.AddrPort
	control Control
	held    map[heldAt]int // sockets that hold the port
	conn    *net.UDPConn   // nil: closed
}

// heldAt is an address, and the index of its interface if it is link-local.
type heldAt struct {
	netip.Addr
	link uint32
}

// BindUDP binds a port, closed, as BindTCP does. For all addresses, it binds
// the port at the current addresses of the host: see UpdateAddresses.
func BindUDP(address string, control Control) (*UDP, error) {
	addr, err := parse(address)
	if err != nil {
		return nil, err
	}
	u := &UDP{address: address, addr: addr, control: control, held: map[heldAt]int{}}
	if err := u.UpdateAddresses(); err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// UpdateAddresses binds the port at new addresses of the host, and releases it
// at removed ones. The error names the addresses at which that failed; the port
// is bound at all others.
func (u *UDP) UpdateAddresses() error {
	want := []netip.Addr{u.addr.Addr()}
	if u.addr.Addr().IsUnspecified() {
		var err error
		if want, err = hostAddresses(); err != nil {
			return fmt.Errorf("list this host's addresses: %w", err)
		}
	}
	for at, fd := range u.held {
		if link, err := linkOf(at.Addr); err != nil || link != at.link || !slices.Contains(want, at.Addr) {
			unix.Close(fd)
			delete(u.held, at)
		}
	}
	var errs []error
	for _, a := range want {
		link, _ := linkOf(a) // if it fails, bindClosed does
		if _, ok := u.held[heldAt{a, link}]; ok {
			continue
		}
		fd, err := u.bindClosed(netip.AddrPortFrom(a, u.addr.Port()))
		switch {
		case err == nil:
			u.held[heldAt{a, link}] = fd
		case errors.Is(err, unix.EADDRNOTAVAIL) && u.addr.Addr().IsUnspecified():
			// The address was removed again, or is not yet usable: an event
			// will follow.
		case errors.Is(err, errNoIPv6) && u.addr.Addr().IsUnspecified():
			// No socket of this process can receive there.
		default:
			errs = append(errs, inUse("udp", netip.AddrPortFrom(a, u.addr.Port()), err))
		}
	}
	return errors.Join(errs...)
}

// Stale reports whether the port is bound at one address, at an interface that no
// longer exists: see TCP.Stale.
func (u *UDP) Stale() bool {
	link, err := linkOf(u.addr.Addr())
	_, held := u.held[heldAt{u.addr.Addr(), link}]
	return !u.addr.Addr().IsUnspecified() && (err != nil || !held)
}

// bindClosed binds a socket that receives no datagrams: it is connected to
// itself.
func (u *UDP) bindClosed(addr netip.AddrPort) (fd int, err error) {
	fd, name, err := socket(unix.SOCK_DGRAM, addr)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	// It must share the port with the socket that receives datagrams. If there
	// is none, no other socket is tolerated, not even of another server of the
	// same user.
	if u.conn != nil {
		if err = set(fd, unix.SO_REUSEPORT, 1); err != nil {
			return -1, err
		}
	}
	if err = u.control("udp", addr.String(), rawFD(fd)); err != nil {
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

// Listen opens the port. StopListening closes the connection.
func (u *UDP) Listen() (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		var err error
		if failed := c.Control(func(fd uintptr) { err = set(int(fd), unix.SO_REUSEPORT, 1) }); failed != nil {
			return failed
		}
		return errors.Join(err, u.control(network, address, c))
	}}
	address, err := listenAddress(u.addr)
	if err != nil {
		return nil, err
	}
	c, err := lc.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return nil, inUse("udp", u.addr, err)
	}
	conn, ok := c.(*net.UDPConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("listen at %s: expected a UDP socket, got %T", u.address, c)
	}
	u.conn = conn
	return conn, nil
}

// StopListening closes the port, and keeps it bound.
func (u *UDP) StopListening() error {
	if u.conn == nil {
		return nil
	}
	err := u.conn.Close()
	u.conn = nil
	return err
}

// Close releases the port.
func (u *UDP) Close() {
	u.StopListening()
	for _, fd := range u.held {
		unix.Close(fd)
	}
	clear(u.held)
}

// hostAddresses returns the addresses of this host, link-local ones with their
// zone.
func hostAddresses() (all []netip.Addr, err error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		addresses, err := link.Addrs()
		if err != nil {
			continue // the interface was removed
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
