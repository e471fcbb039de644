package prefilter

import (
	"encoding/binary"
	"math"

	"golang.org/x/net/bpf"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

const (
	// udpHeader is where the payload begins: the kernel runs a UDP socket's
	// filter on the datagram with its header.
	udpHeader = 8
	// udpLength is the offset of the header's length field: the length of the
	// datagram with its header. The length of the buffer is useless: several
	// datagrams may share a buffer (GRO).
	udpLength = 4

	// keep is the number of bytes of an accepted datagram that are kept: all.
	keep = math.MaxUint16
	// leaf is the number of identifiers that are compared one after the other.
	leaf = 8
)

// Program returns the rules of a port as a classic BPF filter for its UDP
// sockets. The program of a port without a place refuses everything. With more than
// MaxIdentifiers it accepts any printable identifier.
func (t Table) Program(port uint16) []bpf.Instruction {
	if len(t.Ports[port]) == 0 {
		return []bpf.Instruction{refuse} // without the tree: a trace opens hundreds of such ports
	}
	if !t.treeFits() {
		return append(t.head(port), printable()...)
	}
	return append(t.head(port), t.Identifiers.program().tree...)
}

// Raw returns Program, assembled. The tree, which is the largest part, was
// assembled once for all ports: its jumps are relative.
func (t Table) Raw(port uint16) []bpf.RawInstruction {
	if !t.treeFits() || len(t.Ports[port]) == 0 {
		return Assemble(t.Program(port))
	}
	return append(Assemble(t.head(port)), t.Identifiers.program().raw...)
}

// treeFits reports whether a program compares identifiers.
func (t Table) treeFits() bool { return t.Identifiers != nil && t.Identifiers.Len() <= MaxIdentifiers }

// RawTraced is Raw, but accepts each datagram of the right size with an identifier, whatever
// rule of the port it breaks: this process then explains why it refuses the datagram.
func (t Table) RawTraced(port uint16, traced wire.Identifier) []bpf.RawInstruction {
	first := []bpf.Instruction{
		bpf.LoadAbsolute{Off: udpLength, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: udpHeader + wire.Size, SkipTrue: 3},
		bpf.LoadAbsolute{Off: udpHeader + wire.OffsetIdentifier, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(traced[:]), SkipTrue: 1},
		bpf.RetConstant{Val: keep},
	}
	return append(Assemble(first), t.Raw(port)...)
}

// Assemble assembles a program for the kernel. It panics if a field of an
// instruction is invalid: code makes the programs, not input.
func Assemble(p []bpf.Instruction) []bpf.RawInstruction {
	raw, err := bpf.Assemble(p)
	if err != nil {
		panic(err)
	}
	return raw
}

// head returns the program up to the identifier. If the program compares it, head
// ends by loading that of the datagram into register A.
func (t Table) head(port uint16) []bpf.Instruction {
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: udpLength, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: udpHeader + wire.Size, SkipTrue: 1},
		refuse,
		bpf.LoadAbsolute{Off: udpHeader + wire.OffsetMagic, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16([]byte(wire.Magic))), SkipTrue: 1},
		refuse,
	}
	places := t.Ports[port]
	for i, place := range places {
		p = append(p, t.place(place, len(places)-1-i)...)
	}
	p = append(p, refuse)
	if t.treeFits() {
		p = append(p, bpf.LoadAbsolute{Off: udpHeader + wire.OffsetIdentifier, Size: 4})
	}
	return p
}

// RefuseAll returns the program that refuses everything.
func RefuseAll() []bpf.Instruction { return []bpf.Instruction{refuse} }

var refuse = bpf.RetConstant{Val: 0}

// place returns the code that checks a datagram against one place; follow is the
// number of places after it. If the datagram belongs to another place, the
// program continues with the next place. If it belongs to this one, the program
// continues behind the last place and its refusal.
func (t Table) place(p schedule.Place, follow int) []bpf.Instruction {
	first, last := p.Minute.Bounds()
	first, last = max(first, 0), min(last, math.MaxUint32)
	if last < first || p.Index > t.highest() || p.Index < 0 {
		first, last = 1, 0 // an empty range
	}
	// Sequence ID and maximum are adjacent bytes.
	pair := func(maximum int8) uint32 { return uint32(uint8(p.Index))<<8 | uint32(uint8(maximum)) }
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: udpHeader + wire.OffsetSequence, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: pair(t.Maximum), SkipFalse: 3},
	}
	if t.Maximum == AnyMaximum {
		code = append(code[:1],
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: pair(p.Index), SkipFalse: 4},
			bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: pair(t.highest()), SkipFalse: 3})
	}
	return append(code,
		bpf.LoadAbsolute{Off: udpHeader + wire.OffsetTimestamp, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: uint32(first), SkipFalse: 1},
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: uint32(last), SkipTrue: uint8(follow*(len(code)+3) + 1)})
}

// highest returns the largest sequence ID, and maximum, that a knock can have.
func (t Table) highest() int8 {
	if t.Maximum == AnyMaximum {
		return math.MaxInt8
	}
	return t.Maximum
}

// printable returns the code that accepts identifiers of printable ASCII, as the
// codec does.
func printable() (p []bpf.Instruction) {
	for i := range uint32(len(wire.Identifier{})) {
		p = append(p,
			bpf.LoadAbsolute{Off: udpHeader + wire.OffsetIdentifier + i, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: wire.MinPrintable, SkipTrue: 1},
			refuse,
			bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: wire.MaxPrintable, SkipTrue: 1},
			refuse)
	}
	return append(p, bpf.RetConstant{Val: keep})
}

// tree returns the code that searches for the identifier in register A among
// sorted ones. A conditional jump reaches 255 instructions, so a longer one needs
// an unconditional jump.
func tree(ids []uint32) []bpf.Instruction {
	if len(ids) <= leaf {
		var p []bpf.Instruction
		for i, id := range ids {
			p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: id, SkipTrue: uint8(len(ids) - i)})
		}
		return append(p, refuse, bpf.RetConstant{Val: keep})
	}
	middle := len(ids) / 2
	low, high := tree(ids[:middle]), tree(ids[middle:])
	var p []bpf.Instruction
	if len(low) <= math.MaxUint8 {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: ids[middle], SkipTrue: uint8(len(low))})
	} else {
		p = append(p,
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: ids[middle], SkipFalse: 1},
			bpf.Jump{Skip: uint32(len(low))})
	}
	return append(append(p, low...), high...)
}
