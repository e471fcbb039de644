package capture

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
)

const (
	protocolTCP = 6
	protocolUDP = 17
	udpHeader   = 8
	tcpHeader   = 20 // without options
	ip6Header   = 40
	snapLength  = 96 // more than the headers of any accepted packet
	// fragment are the bits of an IPv4 header's flags and offset that are set in a
	// fragment.
	fragment = 0x3fff
)

// rule is which packets are accepted: those to a range of ports, which are empty UDP
// packets or, with tcp, bare SYNs: they ask for a connection, and carry no data. It
// exists as Go and as BPF.
type rule struct {
	first, last uint16
	tcp         bool
}

// The flags of a SYN (RFC 9293). CWR and ECE are set in a SYN of a host that uses
// explicit congestion notification (RFC 3168), so they do not count.
const (
	syn      = 0x02
	synFlags = 0x3f // FIN, SYN, RST, PSH, ACK, URG
)

func (r rule) protocol() byte {
	if r.tcp {
		return protocolTCP
	}
	return protocolUDP
}

// header is the size of the smallest header of the rule's protocol.
func (r rule) header() int {
	if r.tcp {
		return tcpHeader
	}
	return udpHeader
}

// parse parses a packet that begins with its IP header. It refuses packets with
// IPv6 extension headers: clients send none. The packet may be truncated behind the
// ports and flags.
func (r rule) parse(b []byte) (p Packet, ok bool) {
	if len(b) == 0 {
		return p, false
	}
	switch b[0] >> 4 {
	case 4:
		return r.parse4(b)
	case 6:
		return r.parse6(b)
	}
	return p, false
}

func (r rule) parse4(b []byte) (p Packet, ok bool) {
	header := int(b[0]&15) * 4
	if header < 20 || len(b) < header+r.header() || b[9] != r.protocol() ||
		binary.BigEndian.Uint16(b[6:])&fragment != 0 {
		return p, false
	}
	size := int(binary.BigEndian.Uint16(b[2:])) - header
	return r.ports(b[header:], size, netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])))
}

func (r rule) parse6(b []byte) (p Packet, ok bool) {
	if len(b) < ip6Header+r.header() || b[6] != r.protocol() {
		return p, false
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	return r.ports(b[ip6Header:], size, netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])))
}

// ports parses a UDP or TCP header. Size is that of the packet without its IP header.
func (r rule) ports(b []byte, size int, source, destination netip.Addr) (p Packet, ok bool) {
	from, to := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if from == 0 || to < r.first || to > r.last || !r.empty(b, size) {
		return p, false
	}
	return Packet{Source: netip.AddrPortFrom(source, from), Destination: netip.AddrPortFrom(destination, to)}, true
}

// empty reports whether a packet is nothing but its header, of size bytes.
func (r rule) empty(b []byte, size int) bool {
	if r.tcp {
		header := int(b[12]>>4) * 4
		return header >= tcpHeader && size == header && b[13]&synFlags == syn
	}
	return size == udpHeader && binary.BigEndian.Uint16(b[4:]) == udpHeader
}

var (
	refuse = bpf.RetConstant{Val: 0}
	accept = bpf.RetConstant{Val: snapLength}
)

// require refuses the packet unless the condition holds for register A.
func require(cond bpf.JumpTest, value uint32) []bpf.Instruction {
	return []bpf.Instruction{bpf.JumpIf{Cond: cond, Val: value, SkipTrue: 1}, refuse}
}

// program returns the rule for a packet socket of one family, whose packets begin
// with the IP header. With hostOnly it accepts only packets that the kernel has
// classified as for this host (PACKET_HOST), which the headers do not show.
func (r rule) program(v6, hostOnly bool) (p []bpf.Instruction) {
	add := func(load bpf.Instruction, then ...[]bpf.Instruction) {
		p = append(p, load)
		for _, t := range then {
			p = append(p, t...)
		}
	}
	if hostOnly {
		add(bpf.LoadExtension{Num: bpf.ExtType}, require(bpf.JumpEqual, 0)) // PACKET_HOST
	}
	half := func(offset uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: 2} }
	inRange := [][]bpf.Instruction{
		require(bpf.JumpGreaterOrEqual, uint32(r.first)), require(bpf.JumpLessOrEqual, uint32(r.last)),
	}
	if v6 {
		version := []bpf.Instruction{bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4}}
		add(bpf.LoadAbsolute{Off: 0, Size: 1}, version, require(bpf.JumpEqual, 6))
		add(bpf.LoadAbsolute{Off: 6, Size: 1}, require(bpf.JumpEqual, uint32(r.protocol())))
		add(bpf.LoadConstant{Dst: bpf.RegX, Val: ip6Header})
		add(half(4))
	} else {
		add(bpf.LoadAbsolute{Off: 0, Size: 1}, require(bpf.JumpGreaterOrEqual, 0x45), require(bpf.JumpLessOrEqual, 0x4f))
		add(bpf.LoadAbsolute{Off: 9, Size: 1}, require(bpf.JumpEqual, uint32(r.protocol())))
		add(half(6), require(bpf.JumpBitsNotSet, fragment))
		add(bpf.LoadMemShift{Off: 0})
		add(half(2))
		add(bpf.ALUOpX{Op: bpf.ALUOpSub})
	}
	// X is the size of the IP header, A that of the rest.
	if r.tcp {
		add(bpf.StoreScratch{Src: bpf.RegA, N: 0})
		// Fails, which refuses the packet, if the TCP header is not complete.
		add(bpf.LoadIndirect{Off: tcpHeader - 2, Size: 2})
		add(bpf.LoadIndirect{Off: 13, Size: 1}, []bpf.Instruction{
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: synFlags},
		}, require(bpf.JumpEqual, syn))
	} else {
		p = append(p, require(bpf.JumpEqual, udpHeader)...)
		add(bpf.LoadIndirect{Off: 6, Size: 2}) // the same of the UDP header
		add(bpf.LoadIndirect{Off: 4, Size: 2}, require(bpf.JumpEqual, udpHeader))
	}
	add(bpf.LoadIndirect{Off: 0, Size: 2}, require(bpf.JumpNotEqual, 0))
	add(bpf.LoadIndirect{Off: 2, Size: 2}, inRange...)
	if r.tcp {
		// The size of the TCP header: its first four bits, in words of 4 bytes.
		add(bpf.LoadIndirect{Off: 12, Size: 1}, []bpf.Instruction{
			bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		}, require(bpf.JumpGreaterOrEqual, tcpHeader))
		p = append(p, bpf.TAX{}, bpf.LoadScratch{Dst: bpf.RegA, N: 0}, bpf.ALUOpX{Op: bpf.ALUOpSub})
		p = append(p, require(bpf.JumpEqual, 0)...)
	}
	return append(p, accept)
}

// emptyOnly returns the rule for a bound UDP socket, whose filter runs on the
// datagram from the UDP header on.
func emptyOnly() []bpf.Instruction {
	length := []bpf.Instruction{bpf.LoadAbsolute{Off: 4, Size: 2}}
	return append(length, append(require(bpf.JumpEqual, udpHeader), accept)...)
}
