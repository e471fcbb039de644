package sockfilter

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Max is how many entries a program holds, whichever they are: four words of
// 32 bits are compared for an IPv6 address, within the 4096 instructions that
// the kernel takes (BPF_MAXINSNS). The program and the one before it fit into
// 131,072 bytes of socket memory (net.core.optmem_max).
const Max = 512

// Set is what a screen lets through. The zero value is nobody.
type Set struct {
	// Addresses may be IPv4 or IPv6. IPv4-mapped ones count as IPv4; zones are
	// ignored; the zero Addr is nobody's.
	Addresses []netip.Addr
	// Nets are IPv6 networks of 64 bits; a set with others has no program.
	Nets []netip.Prefix
	All  bool // everybody, whatever the rest says
}

// key is the words that the source of a packet has to begin with.
type key struct {
	words [4]uint32
	n     int // of them count
}

// keys returns a set's keys by family, sorted, none of them within another.
// False: it has none that say the same.
func (s Set) keys() (v4, v6 []key, ok bool) {
	for _, a := range s.Addresses {
		switch a = a.Unmap(); {
		case a.Is4():
			b := a.As4()
			v4 = append(v4, key{[4]uint32{binary.BigEndian.Uint32(b[:])}, 1})
		case a.Is6():
			v6 = append(v6, ipv6(a, 4))
		}
	}
	for _, p := range s.Nets {
		if !p.Addr().Is6() || p.Bits() != 64 {
			return nil, nil, false
		}
		v6 = append(v6, ipv6(p.Addr(), 2))
	}
	return distinct(v4), distinct(v6), true
}

func ipv6(a netip.Addr, n int) (k key) {
	b := a.As16()
	for k.n = 0; k.n < n; k.n++ {
		k.words[k.n] = binary.BigEndian.Uint32(b[4*k.n:])
	}
	return k
}

func distinct(keys []key) []key {
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(slices.Compare(a.words[:], b.words[:]), cmp.Compare(a.n, b.n))
	})
	// A network comes before what lies within it: the rest of its words is zero.
	return slices.CompactFunc(keys, func(before, k key) bool {
		return before.n <= k.n && slices.Equal(before.words[:before.n], k.words[:before.n])
	})
}
