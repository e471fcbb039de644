package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// socket is what clients send to. On a host with several addresses the kernel
// would choose one to answer from, which a client might not know.
type socket struct {
	conn *net.UDPConn
	oob  []byte
	six  bool // an IPv6 socket, which may take IPv4 too
}

// way is how a datagram came: answers go back by it.
type way struct {
	to   netip.Addr // which of this host's addresses; of an IPv6 socket in 16 bytes
	link uint32     // the index of the interface
}

func newSocket(conn *net.UDPConn) (*socket, error) {
	s := &socket{conn: conn, oob: make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var optionErr error
	err = raw.Control(func(fd uintptr) {
		var family int
		if family, optionErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); optionErr != nil {
			return
		}
		if s.six = family == unix.AF_INET6; s.six {
			optionErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else {
			optionErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	})
	if err == nil {
		err = os.NewSyscallError("setsockopt PKTINFO", optionErr)
	}
	return s, err
}

// read returns a datagram's client, an IPv4-mapped one as IPv4. One goroutine
// calls it.
func (s *socket) read(b []byte) (n int, client netip.AddrPort, w way, err error) {
	n, oobn, _, client, err := s.conn.ReadMsgUDPAddrPort(b, s.oob)
	if err != nil {
		return n, client, w, err
	}
	return n, netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), s.way(s.oob[:oobn]), nil
}

// way reads the one control message that was asked for.
func (s *socket) way(oob []byte) (w way) {
	head := unix.CmsgLen(0)
	if len(oob) < head {
		return w
	}
	switch body := oob[head:]; {
	case s.six && len(body) >= unix.SizeofInet6Pktinfo:
		w.to = netip.AddrFrom16([16]byte(body))
		w.link = binary.NativeEndian.Uint32(body[16:])
	case !s.six && len(body) >= unix.SizeofInet4Pktinfo:
		w.to = netip.AddrFrom4([4]byte(body[8:])) // behind the interface and the route's address
	}
	return w
}

// control is the message that has an answer leave the way that a datagram
// came. The route decides on the interface, but for link-local addresses.
func (s *socket) control(w way) []byte {
	switch {
	case !w.to.IsValid() || w.to.Unmap().IsMulticast():
		return nil
	case s.six:
		info := unix.Inet6Pktinfo{Addr: w.to.As16()}
		if w.to.IsLinkLocalUnicast() {
			info.Ifindex = w.link
		}
		return unix.PktInfo6(&info)
	}
	return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: w.to.As4()})
}

// write sends an answer. It may be lost, as datagrams may. Many goroutines
// call it.
func (s *socket) write(b []byte, client netip.AddrPort, control []byte) {
	s.conn.WriteMsgUDPAddrPort(b, control, client)
}
