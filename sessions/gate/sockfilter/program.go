package sockfilter

import (
	"math"
	"slices"

	"golang.org/x/net/bpf"
)

// Where the source address is, from the network header on.
const (
	network    = 1<<32 - 0x100000 // SKF_NET_OFF of linux/filter.h
	version    = 0
	sourceIPv4 = 12
	sourceIPv6 = 8
)

// leaf is how many values are compared one after the other.
const leaf = 4

// A program returns how much of a packet is kept.
var (
	refuse = bpf.RetConstant{Val: 0}
	accept = bpf.RetConstant{Val: math.MaxUint32}
)

// Program returns the program for a set. It is false if there are more than
// Max entries, or networks that are none of 64 bits of IPv6.
func Program(s Set) ([]bpf.Instruction, bool) {
	if s.All {
		return []bpf.Instruction{accept}, true
	}
	v4, v6, ok := s.keys()
	if !ok || len(v4)+len(v6) > Max {
		return nil, false
	}
	return program(v4, v6), true
}

func program(v4, v6 []key) []bpf.Instruction {
	b := backward{rets: [2]label{none, none}}
	isIPv6 := refused
	if len(v6) > 0 {
		isIPv6 = b.tree(v6, 0)
		// Scratch memory is read for every address, by an instruction; what is
		// read from the packet, by a call.
		for i := range 4 {
			if i > 0 {
				b.emit(bpf.StoreScratch{Src: bpf.RegA, N: i})
			}
			isIPv6 = b.emit(bpf.LoadAbsolute{Off: network + sourceIPv6 + 4*uint32(i), Size: 4})
		}
		// The kernel refuses a program that reads scratch memory behind what is
		// reached without it having been written, be that a verdict.
		b.rets = [2]label{none, none}
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

// tree looks for what register A holds, which is word i of an address, among
// that word of sorted keys, and goes on with the next where it has to.
func (b *backward) tree(keys []key, i int) label {
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

func (b *backward) search(groups [][]key, i int) label {
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
		next = b.test(bpf.JumpEqual, g[0].words[i], found, next)
	}
	return next
}
