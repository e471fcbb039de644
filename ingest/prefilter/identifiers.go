package prefilter

import (
	"encoding/binary"
	"slices"

	"golang.org/x/net/bpf"

	"sallyport/verify/wire"
)

// Identifiers are the identifiers of all clients, and the part of a program that
// compares with them. They are immutable.
type Identifiers struct {
	sorted []uint32 // the bytes of the datagram as a big-endian number
	tree   []bpf.Instruction
	raw    []bpf.RawInstruction // the same, assembled
}

// Len returns the number of identifiers.
func (s *Identifiers) Len() int { return len(s.sorted) }

// Instructions returns the number of instructions that they need in a program.
func (s *Identifiers) Instructions() int { return len(s.raw) }

// MaxIdentifiers is the maximum number of identifiers in a program: the kernel
// accepts 4,096 instructions, and the tree has one and a half for each client.
const MaxIdentifiers = 2500

// NewIdentifiers compiles the tree, once for all ports. It returns nil for more
// than MaxIdentifiers: then a program accepts every identifier.
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
