package sockfilter

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Max is the number of entries that a program can always have: an IPv6 address
// needs comparisons of four words of 32 bits, within the 4096 instructions that
// the kernel accepts (BPF_MAXINSNS). Two such programs, the old and the new
// one, fit into 131,072 bytes of socket memory (net.core.optmem_max).
const Max = 512

// Set is the set of sources that a filter lets through. The zero value is
// empty.
type Set struct {
	// Addresses may be IPv4 or IPv6. IPv4-mapped ones count as IPv4; zones are
	// ignored; the zero Addr matches no source.
	Addresses []netip.Addr
	// Nets are IPv4 networks, and IPv6 networks of 64 bits; a set with others of IPv6 has
	// no program.
	Nets   []netip.Prefix
	Anyone bool // every source, whatever the other fields are
}

// key is the words with which the source of a packet must begin.
type key struct {
	words [4]uint32
	n     int    // number of significant words
	last  uint32 // of an IPv4 network, the word of its last address; else the last significant word
}

// keys returns a set's keys by family, sorted, none of them within another. ok
// is false if a network has no key.
func (s Set) keys() (v4, v6 []key, ok bool) {
	for _, a := range s.Addresses {
		switch a = a.Unmap(); {
		case a.Is4():
			v4 = append(v4, ipv4(netip.PrefixFrom(a, 32)))
		case a.Is6():
			v6 = append(v6, ipv6(a, 4))
		}
	}
	for _, p := range s.Nets {
		switch {
		case p.Addr().Is4() && p.IsValid():
			v4 = append(v4, ipv4(p))
		case p.Addr().Is6() && p.Bits() == 64:
			v6 = append(v6, ipv6(p.Addr(), 2))
		default:
			return nil, nil, false
		}
	}
	return distinct(v4), distinct(v6), true
}

func ipv4(p netip.Prefix) key {
	b := p.Masked().Addr().As4()
	first := binary.BigEndian.Uint32(b[:])
	return key{[4]uint32{first}, 1, first | uint32(1<<(32-p.Bits())-1)}
}

func ipv6(a netip.Addr, n int) (k key) {
	b := a.As16()
	for k.n = 0; k.n < n; k.n++ {
		k.words[k.n] = binary.BigEndian.Uint32(b[4*k.n:])
		k.last = k.words[k.n]
	}
	return k
}

func distinct(keys []key) []key {
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(slices.Compare(a.words[:], b.words[:]), cmp.Compare(a.n, b.n), cmp.Compare(b.last, a.last))
	})
	// A network sorts before addresses within it: its remaining words are zero, and it
	// ends later.
	kept := keys[:0]
	for _, k := range keys {
		if n := len(kept); n == 0 || !kept[n-1].has(k) {
			kept = append(kept, k)
		}
	}
	return kept
}

// has reports whether all sources of another key are sources of this one.
func (k key) has(other key) bool {
	i := k.n - 1
	return k.n <= other.n && slices.Equal(k.words[:i], other.words[:i]) && other.words[i] >= k.words[i] && other.words[i] <= k.last
}
