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

// socket returns a socket and its address. A socket for all addresses is for
// IPv4 only if the host has no IPv6.
func socket(kind int, addr netip.AddrPort) (fd int, name unix.Sockaddr, err error) {
	a := addr.Addr()
	if a.Is4() {
		fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: a.As4()}, os.NewSyscallError("socket", err)
	}
	fd, err = unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && a.IsUnspecified() {
		return socket(kind, netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()))
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
	in6 := &unix.SockaddrInet6{Port: int(addr.Port()), Addr: a.As16()}
	if zone := a.Zone(); zone != "" {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			unix.Close(fd)
			return -1, nil, fmt.Errorf("find the interface of %s: %w", a, errors.Join(err, unix.EADDRNOTAVAIL))
		}
		in6.ZoneId = uint32(i.Index)
	}
	return fd, in6, nil
}

func set(fd, option, value int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, value))
}

// rawFD is a descriptor for functions that set options.
type rawFD int

func (r rawFD) Control(f func(uintptr)) error { f(uintptr(r)); return nil }

func (rawFD) Read(func(uintptr) bool) error { return syscall.ENOTSUP }

func (rawFD) Write(func(uintptr) bool) error { return syscall.ENOTSUP }
