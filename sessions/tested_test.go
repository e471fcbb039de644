package sessions

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// TestOwnKnocks: the knocks of the server's own client go the way of all, to the journal and
// the gate, and are in no counter.
func TestOwnKnocks(t *testing.T) {
	broken := errors.New("broken")
	for _, row := range []struct {
		journal, gate error
		want          []Outcome
		opened        uint64 // of the other client
	}{
		{nil, nil, []Outcome{Recorded, Opened, Replay}, 1},
		{broken, nil, []Outcome{Recorded, Unrecorded, Replay}, 0},
		{nil, broken, []Outcome{Recorded, Failed, Replay}, 1},
	} {
		f := verifytest.New(t, 2, "com1", "com2")
		var mu sync.Mutex
		var got []Outcome
		var opened []string
		journal := &slowJournal{err: row.journal}
		cfg := Config{
			Clients: []Client{{Identifier: verifytest.ID("com1")}, {Identifier: verifytest.ID("com2")}}, Journal: journal,
			Gate: gateFunc(func(g Grant) error { opened = append(opened, g.Identifier.String()); return row.gate }),
			Test: verifytest.ID("com1"),
			Tested: func(o Outcome) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, o)
			},
			Parts: func(k verify.Knock, _ netip.Addr, _ Outcome) {
				if k.Identifier() == verifytest.ID("com1") {
					t.Error("split")
				}
			},
		}
		var latency Latency
		_, stats := run(t, cfg, func(s *Sessions) {
			for _, id := range []string{"com1", "com2"} {
				s.Deliver(f.Knock(t, id, minute, 8, 0), alice)
				s.Deliver(f.Knock(t, id, minute, 8, 1), alice)
				synctest.Wait()
			}
			s.Deliver(f.Knock(t, "com1", minute, 8, 1), alice)
			synctest.Wait()
			latency = s.Latency()
		})
		if !slices.Equal(got, row.want) {
			t.Errorf("%+v: the outcomes are %v", row, got)
		}
		if row.journal == nil && (len(journal.calls) != 2 || !slices.Equal(opened, []string{"com1", "com2"})) {
			t.Errorf("%+v: %d records, opened %q", row, len(journal.calls), opened)
		}
		// Those of com2 only.
		if stats[Recorded] != 1 || stats[Opened] != row.opened || stats[Replay] != 0 || stats[Failed]+stats[Unrecorded] > 1 || latency.Counts[0] > 1 {
			t.Errorf("%+v: counted %v, latency %v", row, stats, latency.Counts)
		}
	}
}
