package prefilter

import (
	"encoding/binary"
	"slices"

	"golang.org/x/net/bpf"

	"sallyport/verify/wire"
)

// Identifiers are those of all clients, and the part of a program that knows
// them. They are immutable.
type Identifiers struct {
	sorted []uint32 // as they lie in a datagram, big-endian
	tree   []bpf.Instruction
	raw    []bpf.RawInstruction // the same, assembled
}

// Len is how many there are.
func (s *Identifiers) Len() int { return len(s.sorted) }

// Instructions is how many a program has for them.
func (s *Identifiers) Instructions() int { return len(s.raw) }

// MaxIdentifiers is how many a program can hold: the kernel takes 4,096
// instructions, and the tree has one and a half of them a client.
const MaxIdentifiers = 2500

// NewIdentifiers makes the tree once for all ports. It returns nil if there
// are too many for one: then a program takes every identifier.
func NewIdentifiers(ids []wire.Identifier) *Identifiers {
	if len(ids) > MaxIdentifiers {
		return nil
	}
	set := &Identifiers{sorted: make([]uint32, len(ids))}
	for i, id := range ids {
		set.sorted[i] = binary.BigEndian.Uint32(id[:])
	}
	slices.Sort(set.sorted)
	set.tree = tree(set.sorted)
	set.raw = Assemble(set.tree)
	return set
}

func (s *Identifiers) has(id wire.Identifier) bool {
	_, found := slices.BinarySearch(s.sorted, binary.BigEndian.Uint32(id[:]))
	return found
}
