package fleet

import (
	"encoding/binary"
	"runtime"
	"testing"

	"sallyport/verify/wire"
)

// TestViewIsSmall: a client with one secret takes less than 160 bytes of the view, whose
// cells have no pointer.
func TestViewIsSmall(t *testing.T) {
	const clients = 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	v := newView()
	records := make([]record, 1)
	for i := range uint32(clients) {
		records[0] = record{secret: 7, highest: i, stamp: i}
		v.set(wire.Identifier(binary.BigEndian.AppendUint32(nil, i)), known{value{records: records}, int64(i) + 1})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (after.HeapAlloc - before.HeapAlloc) / clients; each > 160 {
		t.Errorf("%d bytes each", each)
	}
	got := v.get(wire.Identifier{0, 0, 0, 9})
	if got.revision != 10 || len(got.records) != 1 || got.records[0].highest != 9 {
		t.Errorf("got %+v", got)
	}
}

// TestViewFollows: an older event changes nothing, and a record that lost nonces, or a
// secret, does not follow.
func TestViewFollows(t *testing.T) {
	id := wire.Identifier([]byte("com1"))
	used := func(removed uint32, list ...record) value { return value{removed: removed, records: list} }
	one := record{secret: 1, highest: 5, stamp: 10}
	one.ring[0] = 1 << 5
	more := one
	more.ring[0] |= 1 << 4
	two := record{secret: 2, highest: 5, stamp: 20, ring: one.ring}
	for name, row := range map[string]struct {
		before, next value
		revision     int64
		want         bool
	}{
		"more":                       {used(0, one), used(0, more), 8, true},
		"less":                       {used(0, more), used(0, one), 8, false},
		"less, in an older event":    {used(0, more), used(0, one), 6, true},
		"another secret":             {used(0, one), used(0, one, two), 8, true},
		"without a secret":           {used(0, one, two), used(0, two), 8, false},
		"a secret that was removed":  {used(0, one, two), used(10, two), 8, true},
		"the removed one comes back": {used(10, two), used(0, one, two), 8, false},
	} {
		v := newView()
		v.set(id, known{row.before, 7})
		if got := v.set(id, known{row.next, row.revision}); got != row.want {
			t.Errorf("%s: follows %v", name, got)
		}
		want := len(row.next.records)
		if row.revision < 7 {
			want = len(row.before.records)
		}
		if got := v.get(id); len(got.records) != want {
			t.Errorf("%s: %d records", name, len(got.records))
		}
	}
}
