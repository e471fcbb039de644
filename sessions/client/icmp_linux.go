package client

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// canReceiveICMP: ICMP errors reach the client on this system.
const canReceiveICMP = true

// enableICMPErrors makes the kernel queue the ICMP errors of routers and the host at
// the socket. If that fails, the hints lack them.
func (s *sender) enableICMPErrors(ipv4 bool) {
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		if ipv4 {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		} else {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		}
	})
}

// readICMPErrors adds the ICMP errors that arrived since the last call, and reports
// whether there were any.
func (s *sender) readICMPErrors() (any bool) {
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	raw.Control(func(fd uintptr) {
		var data [64]byte
		var control [512]byte
		for {
			_, n, _, to, err := unix.Recvmsg(int(fd), data[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			any = true
			messages, err := unix.ParseSocketControlMessage(control[:n])
			if err != nil {
				continue
			}
			// The address is that of the packet that the ICMP error quotes.
			destination := addrPort(to)
			if at, sent := s.ports[destination.Port()]; !sent || destination.Addr() != at.WithZone("") {
				continue
			}
			for _, m := range messages {
				if kind := icmpKindOf(m); kind != 0 {
					s.errors[destination.Port()] = kind
				}
			}
		}
	})
	return any
}

func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// icmpKindOf parses a struct sock_extended_err (ip(7)). The codes are those of RFC 792,
// 1122 and 1812, and of RFC 4443. 0: not an ICMP error that matters.
func icmpKindOf(m unix.SocketControlMessage) icmpKind {
	v4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
	v6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
	if !v4 && !v6 || len(m.Data) < int(unsafe.Sizeof(unix.SockExtendedErr{})) {
		return 0
	}
	e := (*unix.SockExtendedErr)(unsafe.Pointer(&m.Data[0]))
	const destinationUnreachable4, destinationUnreachable6 = 3, 1
	switch {
	case e.Origin == unix.SO_EE_ORIGIN_ICMP && e.Type == destinationUnreachable4:
		switch e.Code {
		case 0, 1, 5, 6, 7, 8, 11, 12:
			return hostUnreachable
		case 3:
			return portUnreachable
		case 9, 10, 13:
			return prohibited
		}
	case e.Origin == unix.SO_EE_ORIGIN_ICMP6 && e.Type == destinationUnreachable6:
		switch e.Code {
		case 0, 2, 3:
			return hostUnreachable
		case 4:
			return portUnreachable
		case 1, 5, 6:
			return prohibited
		}
	}
	return 0
}
