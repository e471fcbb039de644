package looks

import (
	"encoding/binary"
	"net/netip"
)

const (
	flagFIN, flagSYN, flagPSH, flagACK, flagURG = 1, 2, 8, 16, 32

	echo = "ICMP echo"

	protocolTCP, protocolUDP, protocolICMP, protocolFragment, protocolICMP6 = 6, 17, 1, 44, 58
)

// probe makes the packets of one kind of probe.
type probe struct {
	name string
	make func(from, to netip.AddrPort) [][]byte
}

// probes are what scanners send, and some that they might. The last one has no port.
var probes = []probe{
	{"SYN", flags(flagSYN)},
	{"ACK", flags(flagACK)},
	{"FIN", flags(flagFIN)},
	{"Xmas", flags(flagFIN | flagPSH | flagURG)},
	{"SYN with options", func(from, to netip.AddrPort) [][]byte {
		// Maximum segment size, SACK, timestamps, and window scale.
		options := []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}
		return [][]byte{whole(from, to, protocolTCP, segment(from, to, flagSYN, options))}
	}},
	{"SYN in fragments", func(from, to netip.AddrPort) [][]byte {
		return split(from, to, protocolTCP, append(segment(from, to, flagSYN, make([]byte, 20)), make([]byte, 8)...))
	}},
	{"UDP, empty", payload(0)},
	{"UDP, 48 bytes", payload(48)},
	{"UDP in fragments", func(from, to netip.AddrPort) [][]byte {
		return split(from, to, protocolUDP, datagram(from, to, make([]byte, 64)))
	}},
	{echo, func(from, to netip.AddrPort) [][]byte {
		h := []byte{8, 0, 0, 0, 0, 0, 0, 1}
		binary.BigEndian.PutUint16(h[4:], from.Port())
		if from.Addr().Is6() {
			h[0] = 128
			return [][]byte{whole(from, to, protocolICMP6, checked(from, to, protocolICMP6, h, 2))}
		}
		binary.BigEndian.PutUint16(h[2:], ^sum(h))
		return [][]byte{whole(from, to, protocolICMP, h)}
	}},
}

func flags(f byte) func(from, to netip.AddrPort) [][]byte {
	return func(from, to netip.AddrPort) [][]byte {
		return [][]byte{whole(from, to, protocolTCP, segment(from, to, f, nil))}
	}
}

func payload(size int) func(from, to netip.AddrPort) [][]byte {
	return func(from, to netip.AddrPort) [][]byte {
		return [][]byte{whole(from, to, protocolUDP, datagram(from, to, make([]byte, size)))}
	}
}

func segment(from, to netip.AddrPort, flags byte, options []byte) []byte {
	h := append(make([]byte, 20), options...)
	binary.BigEndian.PutUint16(h, from.Port())
	binary.BigEndian.PutUint16(h[2:], to.Port())
	binary.BigEndian.PutUint32(h[4:], 0x01020304)
	if flags&flagACK != 0 {
		binary.BigEndian.PutUint32(h[8:], 0x05060708)
	}
	h[12], h[13] = byte(len(h)/4<<4), flags
	binary.BigEndian.PutUint16(h[14:], 1024)
	return checked(from, to, protocolTCP, h, 16)
}

func datagram(from, to netip.AddrPort, payload []byte) []byte {
	h := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(h, from.Port())
	binary.BigEndian.PutUint16(h[2:], to.Port())
	binary.BigEndian.PutUint16(h[4:], uint16(8+len(payload)))
	return checked(from, to, protocolUDP, append(h, payload...), 6)
}

// checked writes the checksum of a segment with its pseudo header.
func checked(from, to netip.AddrPort, protocol byte, segment []byte, at int) []byte {
	pseudo := append(append(from.Addr().AsSlice(), to.Addr().AsSlice()...), 0, protocol, byte(len(segment)>>8), byte(len(segment)))
	s := ^sum(append(pseudo, segment...))
	if s == 0 && protocol == protocolUDP {
		s = 0xffff // 0 is: there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(segment[at:], s)
	return segment
}

func sum(b []byte) uint16 {
	var s uint32
	for i, v := range b {
		s += uint32(v) << (8 * (1 - i%2))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func whole(from, to netip.AddrPort, protocol byte, segment []byte) []byte {
	return header(from, to, protocol, 0, segment)
}

// split makes two fragments. IPv6 requires all headers in the first one (RFC 7112).
func split(from, to netip.AddrPort, protocol byte, segment []byte) [][]byte {
	after := 24
	if protocol == protocolTCP {
		after = 40
	}
	if len(segment) < after+8 {
		segment = append(segment, make([]byte, after+8-len(segment))...)
	}
	switch protocol { // the payload has grown
	case protocolTCP:
		clear(segment[16:18])
		checked(from, to, protocol, segment, 16)
	case protocolUDP:
		clear(segment[6:8])
		binary.BigEndian.PutUint16(segment[4:], uint16(len(segment)))
		checked(from, to, protocol, segment, 6)
	}
	return [][]byte{
		header(from, to, protocol, 1<<13, segment[:after]),
		header(from, to, protocol, uint16(after/8), segment[after:]),
	}
}

// header prepends an IP header. A fragment has the field of IPv4, and the port of the
// probe as its identification.
func header(from, to netip.AddrPort, protocol byte, fragment uint16, payload []byte) []byte {
	if from.Addr().Is4() {
		h := make([]byte, 20, 20+len(payload))
		h[0], h[8], h[9] = 0x45, 64, protocol
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
		binary.BigEndian.PutUint16(h[4:], from.Port())
		binary.BigEndian.PutUint16(h[6:], fragment)
		copy(h[12:], from.Addr().AsSlice())
		copy(h[16:], to.Addr().AsSlice())
		binary.BigEndian.PutUint16(h[10:], ^sum(h))
		return append(h, payload...)
	}
	if fragment != 0 {
		e := []byte{protocol, 0, 0, 0, 0, 0, byte(from.Port() >> 8), byte(from.Port())}
		binary.BigEndian.PutUint16(e[2:], fragment&0x1fff<<3|fragment>>13&1)
		payload, protocol = append(e, payload...), protocolFragment
	}
	h := make([]byte, 40, 40+len(payload))
	h[0], h[6], h[7] = 0x60, protocol, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	copy(h[8:], from.Addr().AsSlice())
	copy(h[24:], to.Addr().AsSlice())
	return append(h, payload...)
}
