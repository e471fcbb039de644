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
	snapLength  = 96 // more than the headers that the rule lets through
	// fragment are the bits of an IPv4 header's flags and offset that say that
	// a packet is not whole.
	fragment = 0x3fff
)

// rule is which packets are handed on, as Go and as BPF.
type rule struct{ first, last uint16 }

// parse reads a packet from its IP header on. IPv6 extension headers are not
// looked behind: clients send none.
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
	if header < 20 || len(b) < header+udpHeader || b[9] != protocolUDP || binary.BigEndian.Uint16(b[6:])&fragment != 0 ||
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

// ports reads a UDP header.
func (r rule) ports(b []byte, source, destination netip.Addr) (p Packet, ok bool) {
	from, to := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if from == 0 || to < r.first || to > r.last || binary.BigEndian.Uint16(b[4:]) != udpHeader {
		return p, false
	}
	return Packet{netip.AddrPortFrom(source, from), netip.AddrPortFrom(destination, to)}, true
}

var (
	refuse = bpf.RetConstant{Val: 0}
	take   = bpf.RetConstant{Val: snapLength}
)

// must has the packet refused unless the register A is as it says.
func must(cond bpf.JumpTest, value uint32) []bpf.Instruction {
	return []bpf.Instruction{bpf.JumpIf{Cond: cond, Val: value, SkipTrue: 1}, refuse}
}

// program is the rule for packet sockets that begin with the IP header, of one
// family. forThis has it ask the kernel whether a packet is for this host, which a
// packet alone does not say.
func (r rule) program(v6, forThis bool) (p []bpf.Instruction) {
	add := func(load bpf.Instruction, then ...[]bpf.Instruction) {
		p = append(p, load)
		for _, t := range then {
			p = append(p, t...)
		}
	}
	if forThis {
		add(bpf.LoadExtension{Num: bpf.ExtType}, must(bpf.JumpEqual, 0)) // PACKET_HOST
	}
	half := func(offset uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: 2} }
	inRange := [][]bpf.Instruction{must(bpf.JumpGreaterOrEqual, uint32(r.first)), must(bpf.JumpLessOrEqual, uint32(r.last))}
	if v6 {
		add(bpf.LoadAbsolute{Off: 0, Size: 1}, []bpf.Instruction{bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4}}, must(bpf.JumpEqual, 6))
		add(bpf.LoadAbsolute{Off: 6, Size: 1}, must(bpf.JumpEqual, protocolUDP))
		add(half(4), must(bpf.JumpEqual, udpHeader))
		add(half(ip6Header + 6)) // the whole header is there, or it is refused here
		add(half(ip6Header), must(bpf.JumpNotEqual, 0))
		add(half(ip6Header+4), must(bpf.JumpEqual, udpHeader))
		add(half(ip6Header+2), inRange...)
		return append(p, take)
	}
	add(bpf.LoadAbsolute{Off: 0, Size: 1}, must(bpf.JumpGreaterOrEqual, 0x45), must(bpf.JumpLessOrEqual, 0x4f))
	add(bpf.LoadAbsolute{Off: 9, Size: 1}, must(bpf.JumpEqual, protocolUDP))
	add(half(6), must(bpf.JumpBitsNotSet, fragment))
	add(bpf.LoadMemShift{Off: 0})
	add(half(2), []bpf.Instruction{bpf.ALUOpX{Op: bpf.ALUOpSub}}, must(bpf.JumpEqual, udpHeader))
	add(bpf.LoadIndirect{Off: 6, Size: 2})
	add(bpf.LoadIndirect{Off: 0, Size: 2}, must(bpf.JumpNotEqual, 0))
	add(bpf.LoadIndirect{Off: 4, Size: 2}, must(bpf.JumpEqual, udpHeader))
	add(bpf.LoadIndirect{Off: 2, Size: 2}, inRange...)
	return append(p, take)
}

// emptyOnly is the rule for bound UDP sockets, whose filters see the UDP header
// first.
func emptyOnly() []bpf.Instruction {
	return append([]bpf.Instruction{bpf.LoadAbsolute{Off: 4, Size: 2}}, append(must(bpf.JumpEqual, udpHeader), take)...)
}
