package capture

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/udp"
)

// rawSockets send datagrams from any port without binding it: the kernel still
// answers all other packets to that port.
type rawSockets struct{ v4, v6 *os.File } // nil: this host lacks the family

// openRaw opens the raw sockets. Mark is that of OpenSockets.
func openRaw(mark uint32) (r rawSockets, err error) {
	for _, family := range []struct {
		file   **os.File
		name   string
		number int
	}{{&r.v4, raw4Name, unix.AF_INET}, {&r.v6, raw6Name, unix.AF_INET6}} {
		s, err := unix.Socket(family.number, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
		if err == unix.EAFNOSUPPORT {
			continue
		}
		if err != nil {
			r.close()
			return rawSockets{}, os.NewSyscallError("socket", err)
		}
		*family.file = os.NewFile(uintptr(s), family.name)
		if mark != 0 {
			unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
		}
		// A raw socket would otherwise receive all UDP packets of the host.
		if err := attachLocked(s, prefilter.Attach(s, prefilter.RefuseAll())); err != nil {
			r.close()
			return rawSockets{}, err
		}
	}
	return r, nil
}

func (r rawSockets) close() {
	for _, f := range []*os.File{r.v4, r.v6} {
		if f != nil {
			f.Close()
		}
	}
}

func (r rawSockets) send(p Packet, payload []byte) error {
	from, to := p.Destination, p.Source
	f := r.v6
	if to.Addr().Is4() {
		f = r.v4
	}
	if f == nil { // no such family on this host, or no answers (Settings.TCP)
		return unix.EAFNOSUPPORT
	}
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	failed := rc.Control(func(fd uintptr) {
		// The destination address of a raw socket has no port: it is in the header.
		err = send(int(fd), datagram(from, to, payload), netip.AddrPortFrom(to.Addr(), 0), from.Addr())
	})
	return errors.Join(failed, err)
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
