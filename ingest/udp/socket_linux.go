package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Socket is how Open configures and binds a socket.
type Socket struct {
	V6Only bool // an unspecified IPv6 address does not receive IPv4 (Addresses.V6Only)
	Shared bool // other sockets of this user may bind the same address (SO_REUSEPORT)
	// Prepare, if set, is called before bind, so that the socket is configured
	// before the first datagram can arrive.
	Prepare func(fd int) error
}

// Open binds a non-blocking UDP socket. The caller must close it. The error wraps
// that of the system call: EADDRINUSE, EACCES, EMFILE and others.
func (s Socket) Open(at netip.AddrPort) (fd int, err error) {
	name, err := Sockaddr(at)
	if err != nil {
		return -1, err
	}
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, flag(s.Shared)); err != nil {
		return -1, os.NewSyscallError("setsockopt SO_REUSEPORT", err)
	}
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, flag(s.V6Only)); err != nil {
			return -1, os.NewSyscallError("setsockopt IPV6_V6ONLY", err)
		}
	}
	if s.Prepare != nil {
		if err := s.Prepare(fd); err != nil {
			return -1, err
		}
	}
	if err := unix.Bind(fd, name); err != nil {
		return -1, os.NewSyscallError("bind "+at.String(), err)
	}
	return fd, nil
}

// SetBuffer requests a receive buffer of a size in bytes, and returns the size
// that the kernel has set. The kernel itself counts twice the requested size,
// because it includes its own overhead.
func SetBuffer(fd, size int) (given int, err error) {
	// More than net.core.rmem_max requires CAP_NET_ADMIN.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size); err != nil {
			return 0, os.NewSyscallError("setsockopt SO_RCVBUF", err)
		}
	}
	given, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return given / 2, os.NewSyscallError("getsockopt SO_RCVBUF", err)
}

// Sockaddr converts an address for a system call.
func Sockaddr(at netip.AddrPort) (unix.Sockaddr, error) {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}, nil
	}
	link, err := Link(at.Addr())
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16(), ZoneId: link}, nil
}

// Link returns the index of the interface that the zone of an address names; 0
// without a zone.
func Link(a netip.Addr) (index uint32, err error) {
	if a.Zone() == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(a.Zone(), 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0, fmt.Errorf("find the interface of %s: %w", a, err)
	}
	return uint32(i.Index), nil
}

// OnHost returns the addresses on which this host can receive. It probes the
// kernel.
func (as Addresses) OnHost() Addresses { return as.on(HasIPv6()) }

// HasIPv6 reports whether this process can make IPv6 sockets. A kernel without
// IPv6 (ipv6.disable=1) and a sandbox both prevent that.
func HasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err == nil {
		unix.Close(fd)
	}
	return !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES)
}

func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}
