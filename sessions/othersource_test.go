package sessions

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"sallyport/verify/verifytest"
)

// TestOtherSourceIsLogged: the log names the client of an attempt whose knocks came from
// two addresses, once for each attempt, with both addresses: not for replays, nor for another
// minute.
func TestOtherSourceIsLogged(t *testing.T) {
	f := verifytest.New(t, 4, "com1")
	var text bytes.Buffer
	s := newTestShard(gateFunc(func(Grant) error { return nil }))
	s.recorder.log = slog.New(slog.NewTextHandler(&text, nil))
	s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}}))
	lines := func(base uint32, sequence int, from netip.Addr) int {
		text.Reset()
		s.handle(arrival{f.Knock(t, "com1", minute, base, sequence), from})
		s.recorder.drain()
		return strings.Count(text.String(), "msg=\"attempt from two addresses")
	}
	other, onLink := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("fe80::1%3")
	for _, row := range []struct {
		base     uint32
		sequence int
		from     netip.Addr
		want     int
	}{
		{0, 0, alice, 0}, {0, 0, other, 0}, {0, 1, other, 1}, {0, 2, bob, 0}, {0, 3, alice, 0},
		{4, 0, alice, 0}, {4, 1, alice, 0}, {4, 2, alice, 0}, {4, 3, alice, 0}, {4, 3, other, 0},
		{8, 0, onLink, 0}, {8, 1, alice, 1},
	} {
		if got := lines(row.base, row.sequence, row.from); got != row.want {
			t.Errorf("%+v: %d lines", row, got)
		}
	}
	for _, part := range []string{"level=WARN", "client=com1", "address=fe80::1%3", "other_address=192.0.2.1", "grant_prefix4"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("no %s in %s", part, text.String())
		}
	}
	text.Reset()
	s.handle(arrival{f.Knock(t, "com1", minute, 12, 0), alice})
	s.handle(arrival{f.Knock(t, "com1", minute+1, 12, 1), alice})
	if s.recorder.drain(); strings.Contains(text.String(), "two addresses") || s.counts[OtherMinute].Load() != 1 {
		t.Errorf("for another minute: %s", text.String())
	}
}

// TestManyOtherSources: however many attempts come from two addresses, few wait for the
// log, one of each client; each is counted, and none costs memory.
func TestManyOtherSources(t *testing.T) {
	const insiders = 2 * maxOtherSources
	var ids []string
	var list []Client
	for i := range insiders {
		ids = append(ids, fmt.Sprintf("c%03d", i))
		list = append(list, Client{Identifier: verifytest.ID(ids[i])})
	}
	f := verifytest.New(t, 4, ids...)
	var text bytes.Buffer
	s := newTestShard(gateFunc(func(Grant) error { return nil }))
	s.recorder.log = slog.New(slog.NewTextHandler(&text, nil))
	s.replace(withSecrets(list))
	attempt := func(id string, base uint32) (both [2]arrival) {
		for i := range both {
			both[i] = arrival{f.Knock(t, id, minute, base, i), []netip.Addr{alice, bob}[i]}
		}
		return both
	}
	var floods [][2]arrival
	for i := range uint32(1000) {
		floods = append(floods, attempt(ids[0], 4*i))
	}
	if n := testing.AllocsPerRun(len(floods)-1, func() {
		s.handle(floods[0][0])
		s.handle(floods[0][1])
		floods = floods[1:]
	}); n != 0 {
		t.Errorf("%v allocations for an attempt", n)
	}
	for _, id := range ids[1:3] {
		for _, a := range attempt(id, 0) {
			s.handle(a)
		}
	}
	if s.recorder.drain(); strings.Count(text.String(), "\n") != 3 || s.counts[OtherSource].Load() != 1002 {
		t.Errorf("%d counted:\n%s", s.counts[OtherSource].Load(), text.String())
	}
	text.Reset()
	for _, id := range ids {
		for _, a := range attempt(id, 8000) {
			s.handle(a)
		}
	}
	if s.recorder.drain(); strings.Count(text.String(), "\n") != maxOtherSources {
		t.Errorf("%d lines for %d clients", strings.Count(text.String(), "\n"), insiders)
	}
}

// TestGrantThatOpensMoreStays: a grant whose knocks came from several addresses does not
// replace one that waits and came from one of them. Its nonces are recorded.
func TestGrantThatOpensMoreStays(t *testing.T) {
	grant := func(a string, differ uint8) Grant { return Grant{Address: netip.MustParseAddr(a), Differ: differ} }
	for _, row := range []struct{ waits, next, want Grant }{
		{grant("192.0.2.1", 0), grant("192.0.2.9", 4), grant("192.0.2.1", 0)},
		{grant("192.0.2.1", 0), grant("192.0.3.9", 4), grant("192.0.3.9", 4)},
		{grant("192.0.2.1", 4), grant("192.0.2.9", 0), grant("192.0.2.9", 0)},
		{grant("192.0.2.1", 4), grant("192.0.2.9", 4), grant("192.0.2.9", 4)},
		{grant("2001:db8::1", 0), grant("2001:db8::9:9", 20), grant("2001:db8::1", 0)},
	} {
		q := newGrantQueue()
		var positions [2]queuePosition
		first := q.put(&positions, pendingGrant{grant: row.waits, entry: Entry{HighestNonce: 7, Base: 7}})
		second := q.put(&positions, pendingGrant{grant: row.next, entry: Entry{HighestNonce: 9, Base: 9}})
		if first != 0 || second != 1 {
			t.Errorf("%d and %d replaced", first, second)
		}
		if got := q.take(); len(got) != 1 || got[0].grant != row.want || got[0].entry.HighestNonce != 9 {
			t.Errorf("%+v, then %+v: %+v", row.waits, row.next, got)
		} else if (got[0].entry.Base == 7) != (row.want == row.waits) {
			t.Errorf("%+v, then %+v: the entry has the nonces of the other attempt: %+v", row.waits, row.next, got)
		}
	}
}
