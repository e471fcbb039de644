package heldport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// InUseError means that another socket has a port. It wraps EADDRINUSE.
type InUseError struct {
	Address string
	By      string // empty: unknown
	err     error
}

func (e *InUseError) Error() string {
	if e.By == "" {
		return fmt.Sprintf("%s: %v", e.Address, e.err)
	}
	return fmt.Sprintf("%s: %v, by %s", e.Address, e.err, e.By)
}

func (e *InUseError) Unwrap() error { return e.err }

// inUse names the program that has a port, if the error is EADDRINUSE.
func inUse(network string, addr netip.AddrPort, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return &InUseError{addr.String(), users(network, addr), err}
	}
	return fmt.Errorf("%s: %w", addr, err)
}

// parse parses host:port. The host is empty or an IP address; an unspecified
// one means all addresses of both families, as for net.Listen.
func parse(address string) (netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		host = "::"
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if a = a.Unmap(); a.IsUnspecified() {
		a = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(a, uint16(port)), nil
}

// listenAddress returns an address for package net, for which "::" requires
// IPv6, and no host means all families that the host has. Package net caches the
// indices of interfaces for a minute: the address has the index as its zone.
func listenAddress(a netip.AddrPort) (string, error) {
	if a.Addr().IsUnspecified() {
		return ":" + strconv.Itoa(int(a.Port())), nil
	}
	link, err := linkOf(a.Addr())
	if err != nil || link == 0 {
		return a.String(), err
	}
	return netip.AddrPortFrom(a.Addr().WithZone(strconv.Itoa(int(link))), a.Port()).String(), nil
}

// socket returns a socket and its address. A socket for all addresses is for
// IPv4 only if the host has no IPv6.
func socket(kind int, addr netip.AddrPort) (fd int, name unix.Sockaddr, err error) {
	a := addr.Addr()
	if a.Is4() {
		fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: a.As4()}, os.NewSyscallError("socket", err)
	}
	fd, err = unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if noIPv6(err) && a.IsUnspecified() {
		return socket(kind, netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()))
	}
	if noIPv6(err) {
		return -1, nil, fmt.Errorf("%w: %w", errNoIPv6, os.NewSyscallError("socket", err))
	}
	if err != nil {
		return -1, nil, os.NewSyscallError("socket", err)
	}
	six := 1
	if a.IsUnspecified() {
		six = 0
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, six); err != nil {
		unix.Close(fd)
		return -1, nil, os.NewSyscallError("setsockopt IPV6_V6ONLY", err)
	}
	link, err := linkOf(a)
	if err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: a.As16(), ZoneId: link}, nil
}

// linkOf returns the index of the interface that the zone of an address names; 0
// without a zone. An interface that is made again has another index, and a socket
// keeps the old one.
func linkOf(a netip.Addr) (index uint32, err error) {
	if a.Zone() == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(a.Zone(), 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0, noInterfaceError{a}
	}
	return uint32(i.Index), nil
}

// noInterfaceError means that the host does not have the interface of an
// address (yet).
type noInterfaceError struct{ address netip.Addr }

func (e noInterfaceError) Error() string {
	return fmt.Sprintf("no interface %s", e.address.Zone())
}

// Unwrap returns the error of a missing address.
func (noInterfaceError) Unwrap() error { return unix.EADDRNOTAVAIL }

// errNoIPv6 means that an IPv6 address requires IPv6, which this process lacks.
var errNoIPv6 = errors.New("no IPv6 on this host, or in this sandbox")

// noIPv6 reports whether the error of an IPv6 socket means that this process can
// make none: the kernel has no IPv6 (ipv6.disable=1), or a sandbox forbids it.
func noIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

func set(fd, option, value int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, value))
}

// rawFD is a descriptor for functions that set options.
type rawFD int

func (r rawFD) Control(f func(uintptr)) error { f(uintptr(r)); return nil }

func (rawFD) Read(func(uintptr) bool) error { return syscall.ENOTSUP }

func (rawFD) Write(func(uintptr) bool) error { return syscall.ENOTSUP }
