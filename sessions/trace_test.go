package sessions

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// TestTrace: a trace gets what becomes of each knock of its client, with the window, the
// sources and the threshold, and of no other client.
func TestTrace(t *testing.T) {
	f := verifytest.New(t, 2, "com1", "com2")
	fails := errors.New("no room")
	var gate error
	s := newTestShard(gateFunc(func(Grant) error { return gate }))
	s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}, {Identifier: verifytest.ID("com2")}}))
	var got []string
	var last Decision
	s.recorder.trace.Store(&Trace{
		Identifier: verifytest.ID("com1"),
		Decided: func(d Decision) {
			last = d
			got = append(got, fmt.Sprintf("%s %d", d.Outcome, d.Count))
		},
		Granted: func(g Grant, o Outcome, err error) {
			got = append(got, fmt.Sprintf("grant %s %v %v", o, g.Address, err))
		},
	})
	step := func(what string, k verify.Knock, from netip.Addr, want ...string) {
		t.Helper()
		got = nil
		s.handle(arrival{k, from})
		s.recorder.drain()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	knock := func(base uint32, i int) verify.Knock { return f.Knock(t, "com1", minute, base, i) }
	step("of another client", f.Knock(t, "com2", minute, 10, 0), alice)
	step("the first", knock(10, 0), alice, "recorded 1")
	step("again", knock(10, 0), alice, "replay 0")
	if last.Highest != 10 || last.Lowest != 0 {
		t.Errorf("window %d to %d, want 0 to 10", last.Lowest, last.Highest)
	}
	step("the last", knock(10, 1), alice, "opened 2", "grant opened 192.0.2.1 <nil>")
	step("another attempt", knock(20, 0), alice, "recorded 1")
	step("from elsewhere", knock(20, 1), bob, "other_source 1")
	if last.First != alice || last.Source != bob {
		t.Errorf("sources %s, %s", last.First, last.Source)
	}
	step("another nonce of it", knock(21, 0), alice, "replay 0")
	gate = fails
	step("a gate that fails", knock(30, 0), alice, "recorded 1")
	step("a gate that fails", knock(30, 1), alice, "opened 2", "grant failed 192.0.2.1 no room")
	journal := errors.New("disk full")
	s.recorder.journal = journalFunc(func([]Entry) error { return journal })
	step("a journal that fails", knock(40, 0), alice, "recorded 1")
	step("a journal that fails", knock(40, 1), alice, "opened 2", "grant unrecorded 192.0.2.1 disk full")
	journal = ErrUsed
	step("another gateway", knock(50, 0), alice, "recorded 1")
	step("another gateway", knock(50, 1), alice, "opened 2", "grant used_elsewhere 192.0.2.1 <nil>")
	s.limit = Limit{Pause: time.Hour, Burst: 1}
	s.clients[0].bucket.Take(s.now(), s.limit)
	step("too often", knock(60, 0), alice, "recorded 1")
	step("too often", knock(60, 1), alice, "rate_limited 2")

	s.start = &Start{Wall: time.Now}
	s.clients[s.index[verifytest.ID("com1")]].current.since = notYet
	step("before the server accepts knocks", knock(70, 0), alice, "before_start 0")
	if last.NotBefore != math.MaxInt64 {
		t.Errorf("not before %d", last.NotBefore)
	}
	s.lostUntil = minute.Start().Unix() + 3600
	s.clients[s.index[verifytest.ID("com1")]].current.since = always
	step("of a time whose record is lost", knock(80, 0), alice, "before_start 0")
	if last.NotBefore != s.lostUntil {
		t.Errorf("not before %d, want %d", last.NotBefore, s.lostUntil)
	}
	s.recorder.trace.Store(nil)
	step("without a trace", knock(90, 0), alice)
}

// TestTraceCostsNothingWithoutOne: neither without a trace nor with one of another client
// does a knock allocate.
func TestTraceCostsNothingWithoutOne(t *testing.T) {
	f := verifytest.New(t, 2, "com1")
	s := newTestShard(gateFunc(func(Grant) error { return nil }))
	s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}}))
	for _, of := range []*Trace{nil, {Identifier: verifytest.ID("zzzz")}, {Identifier: verifytest.ID("com1"), Decided: func(Decision) {}}} {
		s.recorder.trace.Store(of)
		k := f.Knock(t, "com1", minute, 10, 0)
		if n := testing.AllocsPerRun(100, func() { s.handle(arrival{k, alice}) }); n != 0 {
			t.Errorf("trace %v: %g allocations", of, n)
		}
	}
}
