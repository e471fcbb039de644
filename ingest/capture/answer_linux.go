package capture

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// raw sends datagrams from any port, without having it: what else comes to
// the port is answered by the kernel as ever.
type raw struct{ v4, v6 int }

func newRaw(mark uint32) (*raw, error) {
	r := &raw{-1, -1}
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
		// It would hear all UDP that comes.
		if err := attach(s, assemble(refuseAll)); err != nil {
			r.close()
			return nil, os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
		}
	}
	return r, nil
}

func (r *raw) close() {
	for _, fd := range []*int{&r.v4, &r.v6} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

func (r *raw) send(k Knock, payload []byte) error {
	from, to := k.Destination, k.Source
	b := datagram(from, to, payload)
	if to.Addr().Is4() {
		// A raw socket's destination has no port: that is in the header.
		return send(r.v4, b, &unix.SockaddrInet4{Addr: to.Addr().As4()}, from.Addr())
	}
	return send(r.v6, b, &unix.SockaddrInet6{Addr: to.Addr().As16(), ZoneId: zone(to.Addr())}, from.Addr())
}

// send sends from one of the host's addresses.
func send(fd int, b []byte, to unix.Sockaddr, from netip.Addr) error {
	var info []byte
	if from.Is4() {
		info = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: from.As4()})
	} else {
		info = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: from.As16(), Ifindex: zone(from)})
	}
	_, err := unix.SendmsgN(fd, b, info, to, unix.MSG_DONTWAIT)
	return os.NewSyscallError("sendmsg", err)
}

// zone is the number of the link that an address belongs to; 0: none.
func zone(a netip.Addr) uint32 {
	if n, err := strconv.ParseUint(a.Zone(), 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(a.Zone()); err == nil {
		return uint32(i.Index)
	}
	return 0
}

// datagram is one of UDP, with its header (RFC 768; RFC 8200, section 8.1).
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
	add([]byte{0, udp})
	add(b[4:6])
	add(b)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum = ^sum & 0xffff; sum == 0 {
		sum = 0xffff // 0 says that there is none
	}
	binary.BigEndian.PutUint16(b[6:], uint16(sum))
	return b
}
