package xdp

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"sallyport/ingest/prefilter"
	"sallyport/verify/wire"
)

// TestFilter: the filter has the bits of all identifiers, also while others are removed,
// and of no others afterwards. At the highest number of clients, few others pass.
func TestFilter(t *testing.T) {
	const buckets = 1 << 10
	s := memory(t, sizes{1, 2, buckets})
	some := func(from, n int) (ids []wire.Identifier) {
		for i := range n {
			number := from + i
			ids = append(ids, wire.Identifier{byte('0' + number/1000%50), byte('0' + number/100%10), byte('0' + number/10%10), byte('0' + number%10)})
		}
		return ids
	}
	want := func(ids []wire.Identifier) {
		t.Helper()
		words := make([]uint64, len(s.filter))
		for _, id := range ids {
			h := binary.NativeEndian.Uint32(id[:]) * s.seeds[3]
			words[hash(binary.NativeEndian.Uint32(id[:]), s.seeds[2], 8)] |= 1<<(h/(1<<26)) | 1<<(h/(1<<20)%64)
		}
		for i := range words {
			if got := s.filter[i].Load(); got != words[i] {
				t.Fatalf("word %d of the filter: %x, want %x", i, got, words[i])
			}
		}
	}
	first, all := some(0, 1000), some(0, 2*buckets)
	s.Set(tableOf(0, nil, prefilter.NewIdentifiers(first)))
	want(first)
	s.Set(tableOf(0, nil, prefilter.NewIdentifiers(all)))
	want(all)
	missing := func() {
		for _, id := range first {
			if word, bits := s.filtered(entryID(id)); word.Load()&bits != bits {
				t.Fatalf("the filter does not have %s", id)
			}
		}
	}
	s.observe = missing
	s.Set(tableOf(0, nil, prefilter.NewIdentifiers(first)))
	s.observe = nil
	want(first)

	s.Set(tableOf(0, nil, prefilter.NewIdentifiers(all)))
	const tries = 1 << 16
	passed := 0
	for range tries {
		if word, bits := s.filtered(rand.Uint32()); word.Load()&bits == bits {
			passed++
		}
	}
	if passed > tries/10 {
		t.Errorf("%d of %d other identifiers pass the filter, want at most a tenth", passed, tries)
	}
}
