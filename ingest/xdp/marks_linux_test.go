package xdp

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

var noon = time.Unix(int64(prefiltertest.Start), 0)

// marked puts a key table in force, as the receiver does.
func marked(s *Shield, table *verify.KeyTable, now time.Time) {
	var ids []wire.Identifier
	for id := range table.Identifiers() {
		ids = append(ids, id)
	}
	s.Set(tableOf(0, map[uint16][]schedule.Place{7: {{Minute: prefiltertest.Minute}}}, prefilter.NewIdentifiers(ids)))
	s.Mirror(table, now)
}

// expect sends knocks of a client with these nonces, and compares the counters.
func expect(t verifytest.TB, s *Shield, id string, want map[uint32]int) {
	t.Helper()
	for nonce, c := range want {
		datagram := forged(wire.Knock{Identifier: verifytest.ID(id), Timestamp: prefiltertest.Start, Nonce: nonce})
		if got := verdict(s, 7, datagram); got != c {
			t.Fatalf("client %s, nonce %d: %s, want %s", id, nonce, CountNames[got], CountNames[c])
		}
	}
}

func floors(t *verify.KeyTable, id string) (current, previous *verify.Floor) {
	c, p := t.Windows(verifytest.ID(id))
	return c.Floor, p.Floor
}

// TestNoncesAreRefused: a nonce is refused below the window, and too far above the
// highest one, as soon as that is known; with the same bounds as in the replay window.
func TestNoncesAreRefused(t *testing.T) {
	s := memory(t, sizes{1, 2, 4})
	table := verifytest.Table(t, verifytest.Clients("com1", "com2")...)
	one, _ := floors(table, "com1")
	one.Raise(0, 5_000_000)
	marked(s, table, noon)
	expect(t, s, "com1", map[uint32]int{
		5_000_000 - 192: CountBelow, 5_000_000 - 191: CountRing, 5_000_000: CountRing,
		5_000_000 + MaxAhead: CountRing, 5_000_000 + MaxAhead + 1: CountAhead, 0: CountBelow,
	})
	expect(t, s, "com2", map[uint32]int{0: CountRing, 1<<32 - 1: CountRing})
	two, _ := floors(table, "com2")
	two.Raise(0, 10)
	expect(t, s, "com2", map[uint32]int{0: CountRing, 10 + MaxAhead: CountRing, 11 + MaxAhead: CountAhead})
	two.Forget()
	expect(t, s, "com2", map[uint32]int{1<<32 - 1: CountRing})
	two.Raise(0, 1<<32-1)
	expect(t, s, "com2", map[uint32]int{1<<32 - 1: CountRing, 10: CountBelow})
}

// TestRotationHasTwoRanges: any nonce passes until the nonces of both secrets are known;
// then both ranges, until the former secret expires.
func TestRotationHasTwoRanges(t *testing.T) {
	s := memory(t, sizes{1, 2, 4})
	before := verifytest.Table(t, verifytest.Clients("com1", "com2")...)
	old, _ := floors(before, "com1")
	marked(s, before, noon)
	old.Raise(0, 1000)

	until := noon.Add(time.Hour)
	key := verify.Key{Identifier: verifytest.ID("com1"), Secret: []byte("new"), Previous: verifytest.Secret(verifytest.ID("com1")), Until: until}
	after := verifytest.Table(t, key, verifytest.Clients("com2")[0])
	marked(s, after, noon)
	any := map[uint32]int{1000: CountRing, 1<<32 - 1: CountRing, 70_000_000: CountRing}
	expect(t, s, "com1", any)
	current, previous := floors(after, "com1")
	previous.Raise(0, 1001)
	current.Raise(0, 70_000_000)
	two := map[uint32]int{1001: CountRing, 70_000_000: CountRing, 3_000_000: CountAhead, 1<<32 - 1: CountAhead, 900: CountRing, 1: CountBelow}
	expect(t, s, "com1", two)
	s.Tick(until.Add(-time.Second))
	expect(t, s, "com1", two)
	s.Tick(until)
	expect(t, s, "com1", map[uint32]int{1001: CountBelow, 70_000_001: CountRing})
	s.Tick(noon) // the clock is set back
	expect(t, s, "com1", two)

	// A start in the rotation: the nonce of the former secret is not known.
	fresh := verifytest.Table(t, key)
	current, previous = floors(fresh, "com1")
	current.Raise(0, 70_000_000)
	again := memory(t, sizes{1, 2, 4})
	marked(again, fresh, noon)
	expect(t, again, "com1", any)
	previous.Raise(0, 1001)
	again.Tick(noon)
	expect(t, again, "com1", two)
}

// TestTickHasABound: a Tick looks at a part of very many clients in a rotation, and the next
// ones at the others. After the clock was set back, it looks at all.
func TestTickHasABound(t *testing.T) {
	const n = tickClients + 10
	s := memory(t, sizes{1, 2, tickClients})
	until := noon.Add(time.Hour)
	keys := make([]verify.Key, n)
	for i := range keys {
		id := wire.Identifier{'r', '0' + byte(i%64), '0' + byte(i/64%64), '0' + byte(i/4096)}
		keys[i] = verify.Key{Identifier: id, Secret: []byte("new"), Previous: []byte("former"), Until: until}
	}
	table := verifytest.Table(t, keys...)
	marked(s, table, noon)
	for _, secrets := range table.AllWindows() {
		secrets[0].Floor.Raise(0, 1000)
		secrets[1].Floor.Raise(0, 2000)
	}
	expect := func(when string, highest, previous int) {
		t.Helper()
		var with [2]int
		for _, k := range keys {
			e := s.find(entryID(k.Identifier))
			if e.Highest.Load() != 0 {
				with[0]++
			}
			if e.Previous.Load() != 0 {
				with[1]++
			}
		}
		if with != [2]int{highest, previous} {
			t.Errorf("%s: %d clients have a highest nonce, and %d one of the former secret, want %d and %d", when, with[0], with[1], highest, previous)
		}
	}
	expect("at first", 0, n)
	s.Tick(noon)
	expect("known", tickClients, n)
	s.Tick(noon)
	expect("all known", n, n)
	s.Tick(until)
	expect("expired", n, n-tickClients)
	s.Tick(until)
	expect("all expired", n, 0)
	s.Tick(noon)
	expect("set back", n, n)
}

// TestReplacedSecretForgetsItsMark: a client with another secret, or one that was
// removed and added again, can use any nonce.
func TestReplacedSecretForgetsItsMark(t *testing.T) {
	s := memory(t, sizes{1, 2, 4})
	first := verifytest.Table(t, verifytest.Clients("com1", "com2", "com3")...)
	marked(s, first, noon)
	for _, id := range []string{"com1", "com2", "com3"} {
		f, _ := floors(first, id)
		f.Raise(0, 1<<31)
	}
	low := map[uint32]int{7: CountRing}
	second := verifytest.Table(t, verify.Key{Identifier: verifytest.ID("com1"), Secret: []byte("another")}, verifytest.Clients("com3")[0])
	marked(s, second, noon)
	expect(t, s, "com1", low)
	expect(t, s, "com2", map[uint32]int{7: CountIdentifier})
	expect(t, s, "com3", map[uint32]int{7: CountBelow}) // the secret stays, and so does its mark
	third := verifytest.Table(t, verifytest.Clients("com1", "com2", "com3")...)
	marked(s, third, noon)
	expect(t, s, "com1", low)
	expect(t, s, "com2", low)
	removed, _ := floors(first, "com2")
	removed.Raise(0, 1<<31+5) // no mark follows a table that is no longer in force
	expect(t, s, "com2", low)
}

// TestMovedEntryKeepsItsMark: when entries make room for others, each is there at each
// moment, and its mark follows, also in a rotation.
func TestMovedEntryKeepsItsMark(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := memory(t, sizes{1, 2, 16})
		var keys []verify.Key
		for i := range 32 {
			k := verifytest.Client(number(i))
			if rapid.Bool().Draw(rt, "rotating") {
				k.Previous, k.Until = []byte("former"), noon.Add(time.Hour)
			}
			keys = append(keys, k)
		}
		table := verifytest.Table(rt, keys...)
		marked(s, table, noon)
		highest := map[string]uint32{}
		for i := range 32 {
			if rapid.Bool().Draw(rt, "known") {
				highest[number(i).String()] = 1<<30 + uint32(i)
			}
		}
		for id, n := range highest {
			f, former := floors(table, id)
			f.Raise(0, n)
			if former != nil {
				former.Raise(0, n)
			}
		}
		s.Tick(noon)
		ids := make([]wire.Identifier, 0, 60)
		for _, k := range keys {
			ids = append(ids, k.Identifier)
		}
		for i := range rapid.IntRange(1, 24).Draw(rt, "others") {
			ids = append(ids, wire.Identifier([]byte{'o', byte('a' + i), rapid.ByteRange(' ', '~').Draw(rt, "id"), '.'}))
		}
		stores := 0
		s.observe = func() {
			stores++
			for i := stores % 4; i < 32; i += 4 {
				expect(rt, s, number(i).String(), map[uint32]int{1<<30 + uint32(i): CountRing})
			}
		}
		s.Set(tableOf(0, s.table.Ports, prefilter.NewIdentifiers(ids)))
		s.observe = nil
		for i := range 32 {
			id := number(i).String()
			n, known := highest[id]
			f, former := floors(table, id)
			if known {
				expect(rt, s, id, map[uint32]int{n: CountRing, 5: CountBelow})
			}
			f.Raise(0, n+1_000_000)
			want := map[uint32]int{n + 1_000_000: CountRing, n + 2_000_000: CountRing, n + 3_000_000: CountAhead}
			if former != nil && !known {
				want[n+3_000_000] = CountRing // the nonces of the former secret are not known
			}
			expect(rt, s, id, want)
		}
	})
}

// TestCloseWhileFloorsRise: nothing writes to the arrays after Close, whatever the
// owners of the windows do meanwhile.
func TestCloseWhileFloorsRise(t *testing.T) {
	table := verifytest.Table(t, verifytest.Clients("com1", "com2")...)
	var done sync.WaitGroup
	for _, id := range []string{"com1", "com2"} {
		f, _ := floors(table, id)
		done.Go(func() {
			for n := range uint32(50_000) {
				f.Raise(n, n)
			}
		})
	}
	for range 20 {
		s, err := Map(files(t, sizes{1, 2, 4}))
		if err != nil {
			t.Fatal(err)
		}
		marked(s, table, noon)
		s.Close()
	}
	done.Wait()
}

// TestAhead lists each client once, with its refusals since the last call.
func TestAhead(t *testing.T) {
	s := memory(t, sizes{1, 2, 4})
	marked(s, verifytest.Table(t, verifytest.Clients("com1", "com2")...), noon)
	list := func() map[string]uint32 {
		got := map[string]uint32{}
		s.Ahead(func(id wire.Identifier, n uint32) { got[id.String()] += n })
		return got
	}
	if got := list(); len(got) > 0 {
		t.Errorf("%v", got)
	}
	s.find(entryID(verifytest.ID("com1"))).Ahead.Add(3)
	writable(s, "counters")[CountAhead*8] = 3
	if got := list(); len(got) != 1 || got["com1"] != 3 {
		t.Errorf("%v", got)
	}
	if got := list(); len(got) > 0 {
		t.Errorf("%v a second time", got)
	}
}
