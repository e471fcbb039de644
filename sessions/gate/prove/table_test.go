package prove

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func peer(n byte) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 32) }

// inTable is a connection in the model of a table.
type inTable struct {
	r    ref
	peer netip.Prefix
	with bool // it has an authentic preamble that is no copy
}

// TestTableModel compares the table with a list.
func TestTableModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size, share := rapid.IntRange(1, 12).Draw(t, "size"), rapid.IntRange(1, 6).Draw(t, "share")
		table := newTable(size, share)
		var model []inTable // the oldest first
		gone := map[ref]bool{}
		leave := func(i int) {
			table.remove(table.get(model[i].r))
			gone[model[i].r] = true
			model = slices.Delete(model, i, i+1)
		}
		// oldest returns the first connection of the model, without a preamble if possible.
		oldest := func(of func(inTable) bool) int {
			if i := slices.IndexFunc(model, func(c inTable) bool { return of(c) && !c.with }); i >= 0 {
				return i
			}
			return slices.IndexFunc(model, of)
		}
		t.Repeat(map[string]func(*rapid.T){
			"connect": func(t *rapid.T) {
				p := peer(rapid.ByteRange(0, 3).Draw(t, "peer"))
				own := 0
				for _, c := range model {
					if c.peer == p {
						own++
					}
				}
				want := -1
				switch {
				case own >= share:
					want = oldest(func(c inTable) bool { return c.peer == p })
				case len(model) == size:
					want = oldest(func(inTable) bool { return true })
				}
				r, full := table.victim(p)
				if full != (want >= 0) || full && model[want].r != r {
					t.Fatalf("victim %v, %t, want %d of %v", r, full, want, model)
				}
				if full {
					leave(want)
				}
				model = append(model, inTable{table.put(len(model), p.Addr(), p, nil, time.Time{}), p, false})
			},
			"preamble": func(t *rapid.T) {
				if len(model) > 0 {
					i := rapid.IntRange(0, len(model)-1).Draw(t, "which")
					s := table.get(model[i].r)
					s.stage = rapid.SampledFrom([]stage{checking, answered}).Draw(t, "stage")
					s.copied = rapid.Bool().Draw(t, "copied")
					model[i].with = !s.copied
				}
			},
			"end": func(t *rapid.T) {
				if len(model) > 0 {
					leave(rapid.IntRange(0, len(model)-1).Draw(t, "which"))
				}
			},
			"": func(t *rapid.T) {
				if table.used != len(model) || (table.next() == nil) != (len(model) == 0) {
					t.Fatalf("%d connections, want %d", table.used, len(model))
				}
				i := table.oldest
				for _, c := range model {
					if table.get(c.r) != &table.slots[i] || table.slots[i].peer != c.peer {
						t.Fatalf("slot %d is not %v", i, c)
					}
					i = table.slots[i].newer
				}
				if i != nowhere {
					t.Fatal("the list is too long")
				}
				for r := range gone {
					if table.get(r) != nil {
						t.Fatalf("%v has left, and is there", r)
					}
				}
			},
		})
	})
}

// TestMillionTries: a million connections of two addresses, of which none ever proves
// itself, use the same memory as the first ones, and a client with a preamble stays.
func TestMillionTries(t *testing.T) {
	table := newTable(64, 16)
	client := table.put(0, peer(0).Addr(), peer(0), nil, time.Time{})
	table.get(client).stage = answered
	left := 0
	allocs := testing.AllocsPerRun(1, func() {
		for i := range 500_000 {
			p := peer(byte(i % 2)) // the client's address is one of them
			if r, full := table.victim(p); full {
				table.remove(table.get(r))
				left++
			}
			table.put(i, p.Addr(), p, nil, time.Time{})
		}
	})
	if table.get(client) == nil {
		t.Error("the client gave way")
	}
	if allocs != 0 || table.used != 32 || left != 1_000_000-31 {
		t.Errorf("%g allocations, %d in the table, %d left it", allocs, table.used, left)
	}
}
