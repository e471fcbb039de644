package looks

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// markPort is closed, and the port of the SYN that ends a probe.
const markPort = 7

// answer is a packet that came back.
type answer struct {
	to   netip.Addr
	port uint16 // at which the probe was sent from, as far as the packet shows it
	mark bool   // the reset that ends a probe
	bits string
	// label is whether a packet of IPv6 has a flow label.
	label bool
	// zero is whether a packet of IPv4 has the identification 0. A random one is 0 at times.
	zero bool
}

// read reads the fields of a packet that a stranger can compare: all but ports, checksums,
// and the numbers that no two packets share.
func read(p []byte) (a answer, ok bool) {
	var protocol byte
	var rest []byte
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		protocol, rest = p[9], p[p[0]&15*4:]
		a.to = netip.AddrFrom4([4]byte(p[16:]))
		a.zero = binary.BigEndian.Uint16(p[4:]) == 0
		a.bits = fmt.Sprintf("ttl %d, tos %d, fragment %#x, options %x", p[8], p[1], p[6:8], p[20:p[0]&15*4])
	case len(p) >= 40 && p[0]>>4 == 6:
		protocol, rest = p[6], p[40:]
		a.to = netip.AddrFrom16([16]byte(p[24:]))
		a.label = p[1]&15|p[2]|p[3] != 0
		a.bits = fmt.Sprintf("hops %d, class %d", p[7], p[0]&15<<4|p[1]>>4)
	default:
		return a, false
	}
	ip := a.bits
	switch {
	case protocol == protocolTCP && len(rest) >= 20:
		a.port = binary.BigEndian.Uint16(rest[2:])
		a.mark = binary.BigEndian.Uint16(rest) == markPort
		a.bits = fmt.Sprintf("TCP flags %#x, sequence %x, acknowledgment %x, window %d, urgent %x, options %x; %s",
			rest[13], rest[4:8], rest[8:12], binary.BigEndian.Uint16(rest[14:]), rest[18:20], rest[20:], ip)
	case protocol == protocolUDP && len(rest) >= 8:
		a.port = binary.BigEndian.Uint16(rest[2:])
		a.bits = fmt.Sprintf("UDP, %d bytes; %s", len(rest)-8, ip)
	case (protocol == protocolICMP && rest0(rest) == 0 || protocol == protocolICMP6 && rest0(rest) == 129) && len(rest) >= 8:
		a.port = binary.BigEndian.Uint16(rest[4:])
		a.bits = fmt.Sprintf("ICMP echo, %d bytes; %s", len(p), ip)
	case (protocol == protocolICMP || protocol == protocolICMP6 && rest0(rest) < 128) && len(rest) >= 8:
		a.bits = fmt.Sprintf("ICMP type %d code %d, unused %x, %d bytes; %s", rest[0], rest[1], rest[4:8], len(p), ip)
		switch quoted := rest[8:]; {
		case len(quoted) >= 24 && quoted[0]>>4 == 4:
			a.port = binary.BigEndian.Uint16(quoted[quoted[0]&15*4:])
		case len(quoted) >= 50 && quoted[6] == protocolFragment:
			a.port = binary.BigEndian.Uint16(quoted[48:])
		case len(quoted) >= 42:
			a.port = binary.BigEndian.Uint16(quoted[40:])
		}
	default: // neighbours, routers, and groups
		return a, false
	}
	return a, true
}

func rest0(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}
