package sessions

import (
	"testing"

	"sallyport/verify/verifytest"
)

// TestGrantNamesItsDatagrams: the datagrams of an attempt can be made again from its
// grant, unless they have several timestamps.
func TestGrantNamesItsDatagrams(t *testing.T) {
	f := verifytest.New(t, 2, "com1")
	at := uint32(minute * 60)
	for _, row := range []struct {
		name          string
		first, second uint32
		want          Attempt
	}{
		{"one timestamp", at + 59, at + 59, Attempt{Base: 7, Timestamp: at + 59, Count: 2}},
		{"the minute before, within the slack", at - 1, at - 1, Attempt{Base: 7, Timestamp: at - 1, Count: 2}},
		{"the minute after, within the slack", at + 60, at + 60, Attempt{Base: 7, Timestamp: at + 60, Count: 2}},
		{"two timestamps", at, at + 1, Attempt{Base: 7, Timestamp: at, Count: 2, Mixed: true}},
		{"two timestamps of two minutes", at + 1, at - 1, Attempt{Base: 7, Timestamp: at + 1, Count: 2, Mixed: true}},
	} {
		var grants []Grant
		cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}, Journal: discardJournal}
		cfg.Gate = batchFunc(func(g []Grant) []error { grants = append(grants, g...); return nil })
		run(t, cfg, func(s *Sessions) {
			s.Deliver(f.KnockStamped(t, "com1", minute, 7, 0, row.first), alice)
			s.Deliver(f.KnockStamped(t, "com1", minute, 7, 1, row.second), alice)
		})
		row.want.Secret = verifytest.Fingerprint(verifytest.ID("com1"))
		if len(grants) != 1 || grants[0].Attempt != row.want || grants[0].Minute != minute {
			t.Errorf("%s: %+v, want %+v", row.name, grants, row.want)
		}
	}
}

// TestClosingKeepsItsDatagrams: also if a later attempt opens before it is carried out.
func TestClosingKeepsItsDatagrams(t *testing.T) {
	q := newGrantQueue()
	var positions [2]queuePosition
	closing, opening := Attempt{Base: 7}, Attempt{Base: 9}
	q.put(&positions, pendingGrant{grant: Grant{Address: alice, Attempt: closing}, closedFrom: alice, closedBy: closing, empty: true})
	q.put(&positions, pendingGrant{grant: Grant{Address: alice, Attempt: opening}})
	if got := q.take(); len(got) != 1 || got[0].closedBy != closing || got[0].grant.Attempt != opening {
		t.Errorf("%+v", got)
	}
}
