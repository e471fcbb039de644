package client

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

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

// readICMPErrors counts the ICMP errors that arrived since the last call, and
// reports whether there were any.
func (s *sender) readICMPErrors() (any bool) {
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		var data [64]byte
		var control [512]byte
		for {
			_, n, _, _, err := unix.Recvmsg(int(fd), data[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			messages, err := unix.ParseSocketControlMessage(control[:n])
			if err != nil {
				return
			}
			for _, m := range messages {
				if errno, ok := icmpError(m); ok {
					s.icmpErrors[errno]++
					any = true
				}
			}
		}
	})
	return any
}

// icmpError parses a struct sock_extended_err (ip(7)).
func icmpError(m unix.SocketControlMessage) (unix.Errno, bool) {
	v4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
	v6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
	if !v4 && !v6 || len(m.Data) < int(unsafe.Sizeof(unix.SockExtendedErr{})) {
		return 0, false
	}
	e := (*unix.SockExtendedErr)(unsafe.Pointer(&m.Data[0]))
	return unix.Errno(e.Errno), e.Origin == unix.SO_EE_ORIGIN_ICMP || e.Origin == unix.SO_EE_ORIGIN_ICMP6
}
