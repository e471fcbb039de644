package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is what clients send to. On a host with several addresses the kernel
// would choose one to answer from, which a client might not know.
type socket struct {
	conn *net.UDPConn
	oob  []byte
	six  bool // an IPv6 socket, which may take IPv4 too
	one  *one // nil: for any number of flows
}

// way is how a datagram came: answers go back by it.
type way struct {
	to   netip.Addr // which of this host's addresses; of an IPv6 socket in 16 bytes
	link uint32     // the index of the interface, for link-local addresses
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
		if w.to.IsLinkLocalUnicast() {
			w.link = binary.NativeEndian.Uint32(body[16:])
		}
	case !s.six && len(body) >= unix.SizeofInet4Pktinfo:
		// ipi_spec_dst is ours even if the datagram went to a broadcast address.
		// It is not there if it came before it was asked for; ipi_addr is, which
		// is where it went (ip(7)).
		if w.to = netip.AddrFrom4([4]byte(body[4:])); w.to.IsUnspecified() {
			w.to = netip.AddrFrom4([4]byte(body[8:]))
		}
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
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: w.to.As16(), Ifindex: w.link})
	}
	return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: w.to.As4()})
}

// write sends an answer. It may be lost, as datagrams may. Many goroutines
// call it.
func (s *socket) write(b []byte, client netip.AddrPort, control []byte) {
	s.conn.WriteMsgUDPAddrPort(b, control, client)
}

// sender writes to a flow's socket, towards the upstream. Nobody waits for
// that: neither who reads for all clients, nor who cuts one.
type sender struct {
	conn *net.UDPConn
	raw  syscall.RawConn
	once func(fd uintptr) bool // made here, lest each datagram make one
	b    []byte
}

func newSender(conn *net.UDPConn) (*sender, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sender{conn: conn, raw: raw}
	s.once = func(fd uintptr) bool {
		// The first try may only report what ICMP said of an earlier datagram.
		// With no room to send, this one is lost.
		if _, err := unix.Write(int(fd), s.b); err != nil && err != unix.EAGAIN {
			unix.Write(int(fd), s.b)
		}
		return true
	}
	return s, nil
}

// send does not keep b. One goroutine at a time calls it.
func (s *sender) send(b []byte) {
	s.b = b
	s.raw.Write(s.once)
	s.b = nil
}
