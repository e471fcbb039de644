package prefilter

import (
	"encoding/binary"
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
		program := append([]bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 4}}, set.tree...)
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
