package flood

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Sizes of the headers.
const (
	ethernetSize = 14
	ipSize       = 20
	udpSize      = 8
	// HeaderSize is the offset of the payload in a frame.
	HeaderSize = ethernetSize + ipSize + udpSize
)

// Link is the path of frames: from one end of a link to a host at the other end.
type Link struct {
	From, To net.HardwareAddr
	Host     netip.Addr // IPv4
}

// Frame returns an Ethernet frame with a UDP datagram over IPv4 to a port of
// the host. It has no UDP checksum, which IPv4 allows (RFC 768).
func (l Link) Frame(source netip.AddrPort, port uint16, payload []byte) []byte {
	f := make([]byte, HeaderSize, HeaderSize+len(payload))
	copy(f, l.To)
	copy(f[6:], l.From)
	binary.BigEndian.PutUint16(f[12:], 0x0800)

	ip := f[ethernetSize:HeaderSize]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(ipSize+udpSize+len(payload)))
	ip[8], ip[9] = 64, 17 // hops, UDP
	copy(ip[12:], source.Addr().AsSlice())
	copy(ip[16:], l.Host.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:ipSize]))

	udp := ip[ipSize:]
	binary.BigEndian.PutUint16(udp, source.Port())
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpSize+len(payload)))
	return append(f, payload...)
}

// checksum returns the internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
