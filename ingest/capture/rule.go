package capture

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
)

const (
	protocolUDP = 17
	udpHeader   = 8
	ip6Header   = 40
	snapLength  = 96 // more than the headers of any accepted packet
	// fragment are the bits of an IPv4 header's flags and offset that are set in a
	// fragment.
	fragment = 0x3fff
)

// rule is which packets are accepted: those to a range of ports. It exists as Go
// and as BPF.
type rule struct{ first, last uint16 }

// parse parses a packet that begins with its IP header. It refuses packets with
// IPv6 extension headers: clients send none.
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
	if header < 20 || len(b) < header+udpHeader || b[9] != protocolUDP ||
		binary.BigEndian.Uint16(b[6:])&fragment != 0 ||
		int(binary.BigEndian.Uint16(b[2:])) != header+udpHeader {
		return p, false
	}
	return r.ports(b[header:], netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])))
}

func (r rule) parse6(b []byte) (p Packet, ok bool) {
	if len(b) < ip6Header+udpHeader || b[6] != protocolUDP || binary.BigEndian.Uint16(b[4:]) != udpHeader {
		return p, false
	}
	return r.ports(b[ip6Header:], netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])))
}

// ports parses a UDP header.
func (r rule) ports(b []byte, source, destination netip.Addr) (p Packet, ok bool) {
	from, to := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if from == 0 || to < r.first || to > r.last || binary.BigEndian.Uint16(b[4:]) != udpHeader {
		return p, false
	}
	return Packet{netip.AddrPortFrom(source, from), netip.AddrPortFrom(destination, to)}, true
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
		add(bpf.LoadAbsolute{Off: 6, Size: 1}, require(bpf.JumpEqual, protocolUDP))
		add(half(4), require(bpf.JumpEqual, udpHeader))
		add(half(ip6Header + 6)) // fails, which refuses the packet, if the UDP header is not complete
		add(half(ip6Header), require(bpf.JumpNotEqual, 0))
		add(half(ip6Header+4), require(bpf.JumpEqual, udpHeader))
		add(half(ip6Header+2), inRange...)
		return append(p, accept)
	}
	add(bpf.LoadAbsolute{Off: 0, Size: 1}, require(bpf.JumpGreaterOrEqual, 0x45), require(bpf.JumpLessOrEqual, 0x4f))
	add(bpf.LoadAbsolute{Off: 9, Size: 1}, require(bpf.JumpEqual, protocolUDP))
	add(half(6), require(bpf.JumpBitsNotSet, fragment))
	add(bpf.LoadMemShift{Off: 0})
	add(half(2), []bpf.Instruction{bpf.ALUOpX{Op: bpf.ALUOpSub}}, require(bpf.JumpEqual, udpHeader))
	add(bpf.LoadIndirect{Off: 6, Size: 2})
	add(bpf.LoadIndirect{Off: 0, Size: 2}, require(bpf.JumpNotEqual, 0))
	add(bpf.LoadIndirect{Off: 4, Size: 2}, require(bpf.JumpEqual, udpHeader))
	add(bpf.LoadIndirect{Off: 2, Size: 2}, inRange...)
	return append(p, accept)
}

// emptyOnly returns the rule for a bound UDP socket, whose filter runs on the
// datagram from the UDP header on.
func emptyOnly() []bpf.Instruction {
	length := []bpf.Instruction{bpf.LoadAbsolute{Off: 4, Size: 2}}
	return append(length, append(require(bpf.JumpEqual, udpHeader), accept)...)
}
