//go:build linux || darwin

package client

import (
	"io"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// heldFD is a socket that only holds a port.
type heldFD int

func (f heldFD) Close() error { return syscall.Close(int(f)) }

// holdPort returns a port of this computer for all SYNs of an exchange, so that they
// form one request at the server, and the socket that holds it. If there is none, the
// port is 0: the server then combines the packets by their address.
func holdPort(self netip.Addr) (netip.AddrPort, io.Closer) {
	fd, err := boundSocket(netip.AddrPortFrom(self, 0))
	if err != nil {
		return netip.AddrPort{}, nil
	}
	a, err := syscall.Getsockname(fd)
	var port int
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		port = a.Port
	case *syscall.SockaddrInet6:
		port = a.Port
	}
	if err != nil || port == 0 {
		syscall.Close(fd)
		return netip.AddrPort{}, nil
	}
	return netip.AddrPortFrom(self, uint16(port)), heldFD(fd)
}

// boundSocket returns a TCP socket with a local address, or without one if it is not
// valid. Several sockets may share the port.
func boundSocket(local netip.AddrPort) (fd int, err error) {
	family := syscall.AF_INET6
	if local.Addr().Is4() {
		family = syscall.AF_INET
	}
	syscall.ForkLock.RLock()
	fd, err = syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, err
	}
	address, err := sockaddr(local)
	if err == nil {
		shareAddress(fd)
		err = syscall.Bind(fd, address)
	}
	if err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// reusePort is for net.Dialer.Control.
func reusePort(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { shareAddress(int(fd)) })
}

// sendSYN sends one SYN: connect sends it at once, and the close, before the kernel
// would send it again, sends nothing. If a program listens there, it sees a reset.
func sendSYN(local, to netip.AddrPort) error {
	if !local.IsValid() { // the system chooses the port
		local = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
		if to.Addr().Is4() {
			local = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		}
	}
	fd, err := boundSocket(local)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	address, err := sockaddr(to)
	if err != nil {
		return err
	}
	if err = syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	halfOpen(fd)
	switch err = syscall.Connect(fd, address); err {
	case nil, syscall.EINPROGRESS, syscall.ECONNREFUSED: // the loopback refuses at once
		return nil
	}
	return err
}

func sockaddr(a netip.AddrPort) (syscall.Sockaddr, error) {
	if a.Addr().Is4() {
		return &syscall.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	v6 := &syscall.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		id, err := zoneID(zone)
		if err != nil {
			return nil, err
		}
		v6.ZoneId = id
	}
	return v6, nil
}

// zoneID returns the index of a zone, which is the name of an interface or its index.
func zoneID(zone string) (uint32, error) {
	link, err := net.InterfaceByName(zone)
	if err == nil {
		return uint32(link.Index), nil
	}
	if index, notNumber := strconv.ParseUint(zone, 10, 32); notNumber == nil {
		return uint32(index), nil
	}
	return 0, err
}
