package capture

import (
	"encoding/binary"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/udp"
)

// rawSockets send datagrams from any port without binding it: the kernel still
// answers all other packets to that port.
type rawSockets struct{ v4, v6 int }

func newRawSockets(mark uint32) (*rawSockets, error) {
	r := &rawSockets{-1, -1}
	for fd, family := range map[*int]int{&r.v4: unix.AF_INET, &r.v6: unix.AF_INET6} {
		s, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
		if err == unix.EAFNOSUPPORT {
			continue
		}
		if err != nil {
			r.close()
			return nil, os.NewSyscallError("socket", err)
		}
		*fd = s
		if mark != 0 {
			unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
		}
		// A raw socket would otherwise receive all UDP packets of the host.
		if err := prefilter.Attach(s, prefilter.RefuseAll()); err != nil {
			r.close()
			return nil, err
		}
	}
	return r, nil
}

func (r *rawSockets) close() {
	for _, fd := range []*int{&r.v4, &r.v6} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

func (r *rawSockets) send(p Packet, payload []byte) error {
	from, to := p.Destination, p.Source
	fd := r.v6
	if to.Addr().Is4() {
		fd = r.v4
	}
	// The destination address of a raw socket has no port: it is in the header.
	return send(fd, datagram(from, to, payload), netip.AddrPortFrom(to.Addr(), 0), from.Addr())
}

// send sends from one of the host's addresses.
func send(fd int, b []byte, to netip.AddrPort, from netip.Addr) error {
	name, err := udp.Sockaddr(to)
	if err != nil {
		return err
	}
	link, err := udp.Link(from)
	if err != nil {
		return err
	}
	var info []byte
	if from.Is4() {
		info = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: from.As4()})
	} else {
		info = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: from.As16(), Ifindex: link})
	}
	_, err = unix.SendmsgN(fd, b, info, name, unix.MSG_DONTWAIT)
	return os.NewSyscallError("sendmsg", err)
}

// datagram returns a UDP datagram with its header (RFC 768; RFC 8200, section
// 8.1).
func datagram(from, to netip.AddrPort, payload []byte) []byte {
	b := make([]byte, udpHeader, udpHeader+len(payload))
	binary.BigEndian.PutUint16(b, from.Port())
	binary.BigEndian.PutUint16(b[2:], to.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(udpHeader+len(payload)))
	b = append(b, payload...)
	var sum uint32
	add := func(b []byte) {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	add(from.Addr().AsSlice())
	add(to.Addr().AsSlice())
	add([]byte{0, protocolUDP})
	add(b[4:6])
	add(b)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum = ^sum & 0xffff; sum == 0 {
		sum = 0xffff // 0 means no checksum
	}
	binary.BigEndian.PutUint16(b[6:], uint16(sum))
	return b
}
