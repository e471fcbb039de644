package relay

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func testChooser(t testing.TB, k int) *chooser {
	t.Helper()
	block, err := testKey.coordinators()
	if err != nil {
		t.Fatal(err)
	}
	var ids []ID
	for i := range k {
		ids = append(ids, IDOf(string(rune('a'+i))))
	}
	slices.SortFunc(ids, ID.compare)
	return newChooser(block, ids)
}

// TestCoordinatorMoves: a gateway that leaves moves its own sources only, and one that
// comes takes sources and moves no other.
func TestCoordinatorMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(1, MaxGateways).Draw(t, "gateways")
		block, err := testKey.coordinators()
		if err != nil {
			t.Fatal(err)
		}
		var ids []ID
		for i := range k {
			ids = append(ids, IDOf(string(rune('a'+i))))
		}
		c := newChooser(block, ids)
		among := set(rapid.Uint16Range(0, uint16(1<<k-1)).Draw(t, "alive"))
		a := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
		i := c.of(a, among)
		if (i < 0) != (among == 0) || i >= 0 && !among.has(i) {
			t.Fatalf("%d of %b", i, among)
		}
		leaves := rapid.IntRange(0, k-1).Draw(t, "leaves")
		if next := c.of(a, among&^(1<<leaves)); leaves != i && next != i {
			t.Fatalf("moves from %d to %d when %d leaves", i, next, leaves)
		}
		if next := c.of(a, among.with(leaves)); next != i && next != leaves {
			t.Fatalf("moves from %d to %d when %d comes", i, next, leaves)
		}
		// The order in which a gateway knows the others does not matter.
		slices.Reverse(ids)
		var reversed set
		for j := range k {
			if among.has(j) {
				reversed = reversed.with(k - 1 - j)
			}
		}
		if other := newChooser(block, ids).of(a, reversed); i >= 0 && other != k-1-i {
			t.Fatalf("%d, and %d in another order", i, other)
		}
	})
}

// TestCoordinatorSpread: each of three gateways has about a third of the sources.
func TestCoordinatorSpread(t *testing.T) {
	c := testChooser(t, 3)
	var count [3]int
	for i := range 30_000 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(i)+0xc0000200)
		count[c.of(netip.AddrFrom4(b), 0b111)]++
	}
	for i, n := range count {
		if n < 9000 || n > 11_000 {
			t.Errorf("gateway %d has %d of 30000", i, n)
		}
	}
}

// TestEligible: if some gateways hear all, these coordinate in the view of each one,
// whatever else is cut.
func TestEligible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(2, 8).Draw(t, "gateways")
		hears := make([]set, k)
		for i := range k {
			for j := range i {
				if rapid.Bool().Draw(t, "connected") {
					hears[i], hears[j] = hears[i].with(j), hears[j].with(i)
				}
			}
		}
		all := set(1<<k - 1)
		hub := rapid.IntRange(0, k-1).Draw(t, "hears all")
		for i := range k {
			if i != hub {
				hears[i], hears[hub] = hears[i].with(hub), hears[hub].with(i)
			}
		}
		var want set
		for i := range k {
			if hears[i].with(i) == all {
				want = want.with(i)
			}
		}
		for own := range k {
			known := hears[own].with(own)
			view := make([]set, k)
			for i := range k {
				if known.has(i) {
					view[i] = hears[i]
				}
			}
			if got := eligible(own, known, view); got != want {
				t.Fatalf("gateway %d: %b, want %b", own, got, want)
			}
		}
	})
	if got := eligible(1, 0b10, []set{0, 0}); got != 0b10 {
		t.Errorf("a gateway alone: %b", got)
	}
}

// TestWindow: each counter is accepted once, unless it is too old.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		seen, highest := map[uint64]bool{}, uint64(0)
		for range rapid.IntRange(1, 200).Draw(t, "datagrams") {
			n := rapid.Uint64Range(0, 300).Draw(t, "counter")
			want := n > 0 && !seen[n] && (n > highest || highest-n < windowSize)
			if got := w.accept(n); got != want {
				t.Fatalf("%d: %t, highest %d", n, got, highest)
			}
			if want {
				seen[n], highest = true, max(highest, n)
			}
		}
	})
}

func BenchmarkCoordinator(b *testing.B) {
	c := testChooser(b, 3)
	a := netip.MustParseAddr("198.51.100.7")
	for b.Loop() {
		c.of(a, 0b111)
	}
}
