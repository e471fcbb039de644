package prefilter

import (
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"sallyport/verify/wire"
)

// TestTreeFindsItsIdentifiers draws clients, and searches for them and for others.
func TestTreeFindsItsIdentifiers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := rapid.SliceOfNDistinct(rapid.Uint32(), 0, 600, rapid.ID).Draw(t, "clients")
		ids := make([]wire.Identifier, len(drawn))
		known := map[wire.Identifier]bool{}
		for i, x := range drawn {
			binary.BigEndian.PutUint32(ids[i][:], x)
			known[ids[i]] = true
		}
		set := NewIdentifiers(ids)
		program := append([]bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 4}}, set.program().tree...)
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		others := rapid.SliceOfN(rapid.Uint32(), 0, 50).Draw(t, "others")
		for i, x := range drawn {
			if i < 50 {
				others = append(others, x, x+1, x-1)
			}
		}
		for _, x := range others {
			var i wire.Identifier
			binary.BigEndian.PutUint32(i[:], x)
			n, err := vm.Run(i[:])
			if err != nil {
				t.Fatal(err)
			}
			if got := n > 0; got != known[i] || set.has(i) != known[i] {
				t.Fatalf("%x: the program finds it: %v, Go: %v, want %v", x, got, set.has(i), known[i])
			}
		}
	})
}

// TestUnionAndDifference: against sets of Go.
func TestUnionAndDifference(t *testing.T) {
	draw := rapid.SliceOf(rapid.Uint32Range(0, 40))
	rapid.Check(t, func(t *rapid.T) {
		var sets [2]*Identifiers
		in := [2]map[wire.Identifier]bool{{}, {}}
		for i := range sets {
			var ids []wire.Identifier
			for _, x := range draw.Draw(t, "identifiers") {
				var id wire.Identifier
				binary.BigEndian.PutUint32(id[:], x*0x0101_0307)
				in[i][id] = true
				ids = append(ids, id)
			}
			sets[i] = NewIdentifiers(ids)
			if sets[i].Len() != len(in[i]) {
				t.Fatalf("%d identifiers, want %d", sets[i].Len(), len(in[i]))
			}
		}
		a, b := sets[0], sets[1]
		left := maps.Clone(in[0])
		for id := range in[1] {
			delete(left, id)
		}
		got := slices.Collect(a.Without(b))
		if len(got) != len(left) || slices.ContainsFunc(got, func(id wire.Identifier) bool { return !left[id] }) {
			t.Fatalf("difference %v, want %v", got, left)
		}
		union := Union(a, b)
		all := maps.Clone(in[0])
		maps.Copy(all, in[1])
		if union.Len() != len(all) {
			t.Fatalf("union of %d, want %d", union.Len(), len(all))
		}
		for id := range all {
			if !union.has(id) {
				t.Fatalf("the union lacks %v", id)
			}
		}
		if covers := (Table{Identifiers: a}).Covers(Table{Identifiers: b}); covers != (len(all) == len(in[0])) {
			t.Fatalf("%v covers %v: %v", in[0], in[1], covers)
		}
		if Union(a, nil) != nil || Union(nil, b) != nil {
			t.Fatal("a union with any identifier has not any")
		}
	})
}
