package gate

import (
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Bindable tells whether a service could listen at host:port, without
// listening: it binds a socket of a network, "tcp" or "udp", and closes it. Of
// TCP nobody outside can see that; of UDP a datagram in that instant gets no
// answer. The host is empty, for all addresses, or an IP address.
func Bindable(network, address string) error {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return err
	}
	ip, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return err
	}
	var family int
	var name unix.Sockaddr
	if ip4 := ip.IP.To4(); ip4 != nil {
		family, name = unix.AF_INET, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte(ip4)}
	} else {
		in6 := &unix.SockaddrInet6{Port: int(port)}
		copy(in6.Addr[:], ip.IP.To16())
		if i, err := net.InterfaceByName(ip.Zone); err == nil {
			in6.ZoneId = uint32(i.Index)
		}
		family, name = unix.AF_INET6, in6
	}
	kind := unix.SOCK_STREAM
	if network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	// As net.Listen does: connections of an earlier run do not count.
	if kind == unix.SOCK_STREAM {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return os.NewSyscallError("bind", unix.Bind(fd, name))
}
