package firewall

import (
	"encoding/binary"
	"net/netip"
)

const (
	flagPSH, flagURG = 8, 32

	sequence, acknowledgment = 0x01020304, 0x05060708
)

// segment returns a TCP packet.
func segment(from, to netip.Addr, source, port uint16, flags byte, payload []byte) []byte {
	return numbered(from, to, source, port, flags, sequence, payload)
}

// numbered is segment with another sequence number.
func numbered(from, to netip.Addr, source, port uint16, flags byte, number uint32, payload []byte) []byte {
	h := make([]byte, 20)
	binary.BigEndian.PutUint16(h, source)
	binary.BigEndian.PutUint16(h[2:], port)
	binary.BigEndian.PutUint32(h[4:], number)
	if flags&flagACK != 0 {
		binary.BigEndian.PutUint32(h[8:], acknowledgment)
	}
	h[12], h[13] = 5<<4, flags
	binary.BigEndian.PutUint16(h[14:], 1024)
	return packet(from, to, 6, append(h, payload...), 16)
}

// datagram returns a UDP packet.
func datagram(from, to netip.Addr, source, port uint16, payload []byte) []byte {
	h := make([]byte, 8)
	binary.BigEndian.PutUint16(h, source)
	binary.BigEndian.PutUint16(h[2:], port)
	binary.BigEndian.PutUint16(h[4:], uint16(8+len(payload)))
	return packet(from, to, 17, append(h, payload...), 6)
}

// packet prepends an IP header to a segment, and sets the checksum of the
// segment.
func packet(from, to netip.Addr, protocol byte, segment []byte, checksum int) []byte {
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, protocol, byte(len(segment)>>8), byte(len(segment)))
	total := sum(append(pseudo, segment...))
	if total == 0 && protocol == 17 {
		total = 0xffff // 0 is: there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(segment[checksum:], total)
	return header(from, to, protocol, 0, segment)
}

// identification is the field of the last fragmented packet.
var identification uint16

// header prepends an IP header to a payload: for IPv4 with the given fragment
// field, for IPv6 with an extension header if that is not 0.
func header(from, to netip.Addr, protocol byte, fragment uint16, payload []byte) []byte {
	if from.Is4() {
		h := make([]byte, 20)
		h[0], h[8], h[9] = 0x45, 64, protocol
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
		binary.BigEndian.PutUint16(h[4:], identification)
		binary.BigEndian.PutUint16(h[6:], fragment)
		copy(h[12:], from.AsSlice())
		copy(h[16:], to.AsSlice())
		binary.BigEndian.PutUint16(h[10:], sum(h))
		return append(h, payload...)
	}
	if fragment != 0 {
		e := []byte{protocol, 0, 0, 0, 0, 0, byte(identification >> 8), byte(identification)}
		offset := fragment & 0x1fff << 3
		binary.BigEndian.PutUint16(e[2:], offset|fragment>>13&1)
		payload, protocol = append(e, payload...), 44
	}
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, protocol, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	copy(h[8:], from.AsSlice())
	copy(h[24:], to.AsSlice())
	return append(h, payload...)
}

// fragments splits a packet in two, after some bytes of its payload, a multiple
// of 8.
func fragments(from, to netip.Addr, p []byte, after int) [][]byte {
	identification++
	protocol := p[9]
	if from.Is6() {
		protocol = p[6]
	}
	payload := transport(p)
	return [][]byte{
		header(from, to, protocol, 1<<13, payload[:after]),
		header(from, to, protocol, uint16(after/8), payload[after:]),
	}
}

// transport returns the bytes after the IP header.
func transport(p []byte) []byte {
	if p[0]>>4 == 6 {
		return p[40:]
	}
	return p[p[0]&15*4:]
}

func sourceOf(p []byte) netip.Addr {
	if p[0]>>4 == 6 {
		return netip.AddrFrom16([16]byte(p[8:]))
	}
	return netip.AddrFrom4([4]byte(p[12:]))
}

func destinationOf(p []byte) netip.Addr {
	if p[0]>>4 == 6 {
		return netip.AddrFrom16([16]byte(p[24:]))
	}
	return netip.AddrFrom4([4]byte(p[16:]))
}

// sum returns the checksum of RFC 1071.
func sum(b []byte) uint16 {
	var s uint32
	for len(b) > 1 {
		s += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
