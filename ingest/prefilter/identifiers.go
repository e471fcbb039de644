package prefilter

import (
	"encoding/binary"
	"iter"
	"slices"
	"sync"

	"golang.org/x/net/bpf"

	"sallyport/verify/wire"
)

// Identifiers are the identifiers of all clients, in any number. They are
// immutable and safe for concurrent use.
type Identifiers struct {
	sorted []uint32 // the bytes of the datagram as a big-endian number
	// program compiles the part of a program that compares with them, once for all
	// ports. A tier without programs never needs it.
	program func() compiledTree
}

// compiledTree is a decision tree for classic BPF.
type compiledTree struct {
	tree []bpf.Instruction
	raw  []bpf.RawInstruction // the same, assembled
}

// MaxIdentifiers is the maximum number of identifiers in a classic BPF program: the
// kernel accepts 4,096 instructions, and the tree has one and a half for each client.
// Other tiers have room for more.
const MaxIdentifiers = 2500

// NewIdentifiers returns a set of identifiers. It does not retain ids, in which each
// may occur several times.
func NewIdentifiers(ids []wire.Identifier) *Identifiers {
	sorted := make([]uint32, len(ids))
	for i, id := range ids {
		sorted[i] = binary.BigEndian.Uint32(id[:])
	}
	slices.Sort(sorted)
	return sortedIdentifiers(slices.Compact(sorted))
}

func sortedIdentifiers(sorted []uint32) *Identifiers {
	return &Identifiers{sorted: sorted, program: sync.OnceValue(func() compiledTree {
		code := tree(sorted)
		return compiledTree{code, Assemble(code)}
	})}
}

// Len returns the number of identifiers.
func (s *Identifiers) Len() int { return len(s.sorted) }

// Instructions returns the number of instructions that they need in a program. There
// must be at most MaxIdentifiers.
func (s *Identifiers) Instructions() int { return len(s.program().raw) }

// Union returns the identifiers that a or b has; nil has all. It returns one of the
// arguments if that has all of them.
func Union(a, b *Identifiers) *Identifiers {
	switch {
	case a == b || a == nil:
		return a
	case b == nil:
		return nil
	}
	all := make([]uint32, 0, max(a.Len(), b.Len()))
	x, y := a.sorted, b.sorted
	for len(x) > 0 && len(y) > 0 {
		all = append(all, min(x[0], y[0]))
		next := all[len(all)-1]
		if x[0] == next {
			x = x[1:]
		}
		if y[0] == next {
			y = y[1:]
		}
	}
	all = append(append(all, x...), y...)
	switch len(all) {
	case a.Len():
		return a
	case b.Len():
		return b
	}
	return sortedIdentifiers(all)
}

// Without returns the identifiers of s that other does not have, in ascending order.
// Neither may be nil.
func (s *Identifiers) Without(other *Identifiers) iter.Seq[wire.Identifier] {
	return func(yield func(wire.Identifier) bool) {
		rest := other.sorted
		for _, x := range s.sorted {
			for len(rest) > 0 && rest[0] < x {
				rest = rest[1:]
			}
			if len(rest) > 0 && rest[0] == x {
				continue
			}
			var id wire.Identifier
			binary.BigEndian.PutUint32(id[:], x)
			if !yield(id) {
				return
			}
		}
	}
}

func (s *Identifiers) has(id wire.Identifier) bool {
	_, found := slices.BinarySearch(s.sorted, binary.BigEndian.Uint32(id[:]))
	return found
}
