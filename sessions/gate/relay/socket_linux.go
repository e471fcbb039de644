package relay

import (
	"cmp"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a socket to which clients send. On a host with several addresses
// the kernel would choose the source of an answer, which might be an address
// that the client does not know.
type socket struct {
	conn   *net.UDPConn
	oob    []byte
	six    bool        // an IPv6 socket, which may receive IPv4 too
	single *singleFlow // nil: for any number of flows
}

// pktInfo is the local address and interface of a datagram. Answers leave by
// the same.
type pktInfo struct {
	local netip.Addr // address of this host; of an IPv6 socket in 16 bytes
	link  uint32     // the index of the interface, for link-local addresses
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

// read returns a datagram, its client (an IPv4-mapped address as IPv4) and its
// pktInfo. Only one goroutine may call it.
func (s *socket) read(b []byte) (n int, client netip.AddrPort, info pktInfo, err error) {
	n, oobn, _, client, err := s.conn.ReadMsgUDPAddrPort(b, s.oob)
	if err != nil {
		return n, client, info, err
	}
	return n, netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), s.parsePktInfo(s.oob[:oobn]), nil
}

// parsePktInfo parses the one control message that newSocket has requested.
func (s *socket) parsePktInfo(oob []byte) (info pktInfo) {
	head := unix.CmsgLen(0)
	if len(oob) < head {
		return info
	}
	switch body := oob[head:]; {
	case s.six && len(body) >= unix.SizeofInet6Pktinfo:
		info.local = netip.AddrFrom16([16]byte(body))
		if info.local.IsLinkLocalUnicast() {
			info.link = binary.NativeEndian.Uint32(body[16:])
		}
	case !s.six && len(body) >= unix.SizeofInet4Pktinfo:
		// ipi_spec_dst is an address of this host even if the datagram went to
		// a broadcast address. It is missing if the datagram arrived before the
		// option was set; ipi_addr, the destination, is then present (ip(7)).
		if info.local = netip.AddrFrom4([4]byte(body[4:])); info.local.IsUnspecified() {
			info.local = netip.AddrFrom4([4]byte(body[8:]))
		}
	}
	return info
}

// control returns the control message with which an answer leaves from the
// address that the datagram went to. The route chooses the interface, except
// for link-local addresses.
func (s *socket) control(info pktInfo) []byte {
	switch {
	case !info.local.IsValid() || info.local.Unmap().IsMulticast():
		return nil
	case s.six:
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: info.local.As16(), Ifindex: info.link})
	}
	return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: info.local.As4()})
}

// write sends an answer. It may be lost, as datagrams may. It may be called
// concurrently.
func (s *socket) write(b []byte, client netip.AddrPort, control []byte) {
	s.conn.WriteMsgUDPAddrPort(b, control, client)
}

// sender writes to a flow's socket, towards the upstream. It never blocks:
// neither the goroutine that reads for all clients, nor one that cuts a flow.
type sender struct {
	conn      *net.UDPConn
	raw       syscall.RawConn
	writeOnce func(fd uintptr) bool // made once, so that no datagram allocates one
	b         []byte
	failed    atomic.Uint32 // the errno of a datagram; 0: none
}

func newSender(conn *net.UDPConn) (*sender, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sender{conn: conn, raw: raw}
	s.writeOnce = func(fd uintptr) bool {
		// The first attempt may only return an ICMP error of an earlier
		// datagram. If the send buffer is full, the datagram is lost.
		if _, err := unix.Write(int(fd), s.b); err != nil && err != unix.EAGAIN {
			unix.Write(int(fd), s.b)
			s.report(err)
		}
		return true
	}
	var optionErr error
	err = raw.Control(func(fd uintptr) { optionErr = reportErrors(int(fd)) })
	return s, cmp.Or(err, os.NewSyscallError("setsockopt RECVERR", optionErr))
}

// reportErrors makes a socket return each ICMP error. Without the option the kernel
// returns only those that it regards as permanent.
func reportErrors(fd int) error {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	switch {
	case err != nil:
		return err
	case family == unix.AF_INET6:
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
}

// report stores the error for the goroutine that reads, and wakes it: the kernel
// returns an error once, here or there.
func (s *sender) report(err error) {
	errno, ok := err.(unix.Errno)
	if ok && errno != unix.EMSGSIZE && s.failed.CompareAndSwap(0, uint32(errno)) {
		s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// drainErrors empties the queue of ICMP errors.
func (s *sender) drainErrors() {
	s.raw.Control(func(fd uintptr) {
		for {
			_, _, _, _, err := unix.Recvmsg(int(fd), nil, nil, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil && err != unix.EINTR {
				return
			}
		}
	})
}

// send does not retain b. Only one goroutine at a time may call it.
func (s *sender) send(b []byte) {
	s.b = b
	s.raw.Write(s.writeOnce)
	s.b = nil
}
