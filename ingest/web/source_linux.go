package web

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// controlSize has room for the destination of a datagram, of either family.
const controlSize = 64

// receiveDestinations lets the kernel pass the destination address of each datagram, so
// that the answer comes from it also if the host has several. A socket that is bound to
// one address does not require it.
func receiveDestinations(s *net.UDPConn) error {
	at := s.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	if !at.IsUnspecified() {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if at.Is4() {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		} else {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// answerFrom changes the control message with a datagram's destination into the one for
// an answer from there: without the interface, which is the routing's to choose, except
// for link-local addresses. It returns nil if there is none.
func answerFrom(control []byte) []byte {
	head := unix.CmsgLen(0)
	if len(control) < head {
		return nil
	}
	h, data, _, err := unix.ParseOneSocketControlMessage(control)
	switch {
	case err != nil:
		return nil
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		// struct in_pktinfo: the interface, the local address, the destination.
		binary.NativeEndian.PutUint32(data, 0)
		return control[:unix.CmsgSpace(unix.SizeofInet4Pktinfo)]
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		// struct in6_pktinfo: the destination, the interface.
		if a := netip.AddrFrom16([16]byte(data)); !a.IsLinkLocalUnicast() {
			binary.NativeEndian.PutUint32(data[16:], 0)
		}
		return control[:unix.CmsgSpace(unix.SizeofInet6Pktinfo)]
	}
	return nil
}
