package sockfilter

import (
	"math"
	"slices"

	"golang.org/x/net/bpf"
)

// Offsets in a packet, from the network header.
const (
	network    = 1<<32 - 0x100000 // SKF_NET_OFF of linux/filter.h
	version    = 0
	sourceIPv4 = 12
	sourceIPv6 = 8
)

// leaf is the number of values that are compared one after the other.
const leaf = 4

// A program returns the number of bytes of a packet to keep.
var (
	refuse = bpf.RetConstant{Val: 0}
	accept = bpf.RetConstant{Val: math.MaxUint32}
)

// Program returns the program for a set. It returns false if the set has more
// than Max entries, or IPv6 networks that are not of 64 bits.
func Program(s Set) ([]bpf.Instruction, bool) {
	if s.Anyone {
		return []bpf.Instruction{accept}, true
	}
	v4, v6, ok := s.keys()
	if !ok || len(v4)+len(v6) > Max {
		return nil, false
	}
	return program(v4, v6), true
}

func program(v4, v6 []key) []bpf.Instruction {
	b := assembler{verdicts: [2]label{none, none}}
	isIPv6 := refused
	if len(v6) > 0 {
		isIPv6 = b.tree(v6, 0)
		// Reading scratch memory is an instruction, reading the packet is a
		// call: so the words are read from the packet once, and from scratch
		// memory for each comparison.
		for i := range 4 {
			if i > 0 {
				b.emit(bpf.StoreScratch{Src: bpf.RegA, N: i})
			}
			isIPv6 = b.emit(bpf.LoadAbsolute{Off: network + sourceIPv6 + 4*uint32(i), Size: 4})
		}
		// The kernel refuses a program in which a read of scratch memory can
		// follow code that did not write it, even if that code is only a
		// verdict.
		b.verdicts = [2]label{none, none}
	}
	isIPv4 := refused
	if len(v4) > 0 {
		b.tree(v4, 0)
		isIPv4 = b.emit(bpf.LoadAbsolute{Off: network + sourceIPv4, Size: 4})
	}
	b.test(bpf.JumpEqual, 0x40, isIPv4, b.test(bpf.JumpEqual, 0x60, isIPv6, refused))
	b.emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
	b.emit(bpf.LoadAbsolute{Off: network + version, Size: 1})
	slices.Reverse(b.code)
	return b.code
}

// tree searches sorted keys for the value of register A, which is word i of an
// address, and continues with the next word where necessary.
func (b *assembler) tree(keys []key, i int) label {
	var groups [][]key // by word i
	for len(keys) > 0 {
		n := slices.IndexFunc(keys, func(k key) bool { return k.words[i] != keys[0].words[i] })
		if n < 0 {
			n = len(keys)
		}
		groups, keys = append(groups, keys[:n]), keys[n:]
	}
	return b.search(groups, i)
}

func (b *assembler) search(groups [][]key, i int) label {
	if len(groups) > leaf {
		middle := len(groups) / 2
		high := b.search(groups[middle:], i)
		low := b.search(groups[:middle], i)
		return b.test(bpf.JumpGreaterOrEqual, groups[middle][0].words[i], high, low)
	}
	next := refused
	for _, g := range slices.Backward(groups) {
		found := accepted
		if g[0].n > i+1 {
			b.tree(g, i+1)
			found = b.emit(bpf.LoadScratch{Dst: bpf.RegA, N: i + 1})
		}
		if first, last := g[0].words[i], g[0].last; g[0].n == i+1 && first < last {
			next = b.test(bpf.JumpGreaterOrEqual, first, b.test(bpf.JumpGreaterThan, last, next, found), next)
		} else {
			next = b.test(bpf.JumpEqual, first, found, next)
		}
	}
	return next
}
