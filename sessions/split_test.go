package sessions

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// TestComplete: an attempt of which other servers have got some knocks opens, and is recorded
// for the secret from which the keys are made, with its own nonces only. The rules for the
// knocks here hold for it as well.
func TestComplete(t *testing.T) {
	f := verifytest.New(t, 3, "com1", "com2")
	const root = verify.Fingerprint(77)
	stamp := uint32(minute.Start().Unix())
	split := func(id string, base uint32) Completed {
		return Completed{
			Knock: f.Knock(t, id, minute, base, 1), Address: alice, Other: bob, ISN: 5,
			Attempt: Attempt{Secret: root, Base: base, Timestamp: stamp, Count: 3},
		}
	}
	for _, row := range []struct {
		name    string
		cfg     Config
		deliver func(*Sessions)
		want    Outcome
	}{
		{"opens", Config{}, func(s *Sessions) { s.Complete(split("com1", 10)) }, Opened},
		{"another client", Config{}, func(s *Sessions) { s.Complete(split("com2", 10)) }, Unknown},
		{"lost record", Config{Start: &Start{Wall: time.Now, Fresh: true, LostUntil: minute.Start().Add(time.Hour)}}, func(s *Sessions) { s.Complete(split("com1", 10)) }, BeforeStart},
		{"missed knocks", Config{Start: &Start{Wall: time.Now}}, func(s *Sessions) { s.Complete(split("com1", 10)) }, BeforeStart},
		{"two sources", Config{}, func(s *Sessions) {
			x := split("com1", 10)
			x.Differ = 3
			s.Complete(x)
		}, OtherSource},
		{"closed after it", Config{}, func(s *Sessions) {
			for i := range 3 {
				s.Deliver(f.Closing(t, "com1", minute, 20, i), alice)
			}
			synctest.Wait()
			s.Complete(split("com1", 10))
		}, Older},
		{"no such nonces", Config{}, func(s *Sessions) {
			x := split("com1", 10)
			x.Attempt.Count = 0
			s.Complete(x)
		}, Older},
		{"over the limit", Config{Limit: Limit{Pause: time.Hour, Burst: 1}}, func(s *Sessions) {
			for i := range 3 {
				s.Deliver(f.Knock(t, "com1", minute, 0, i), alice)
			}
			synctest.Wait()
			s.Complete(split("com1", 10))
		}, RateLimited},
	} {
		var entries []Entry
		row.cfg.Clients = []Client{{Identifier: verifytest.ID("com1")}}
		row.cfg.Journal = journalFunc(func(e []Entry) error { entries = append(entries, e...); return nil })
		grants, stats := run(t, row.cfg, row.deliver)
		if stats[row.want] != 1 {
			t.Errorf("%s: %v", row.name, stats)
		}
		if row.want != Opened {
			continue
		}
		want := Grant{Identifier: verifytest.ID("com1"), Address: alice, ISN: 5, Minute: minute}
		if len(grants) != 1 || grants[0] != want {
			t.Errorf("%s: grants %v", row.name, grants)
		}
		if len(entries) != 1 || entries[0].Secret != root || entries[0].Base != 10 || entries[0].Count != 3 || entries[0].HighestNonce != 12 || entries[0].Stamp != stamp {
			t.Errorf("%s: entries %+v", row.name, entries)
		}
	}
}

// TestParts: each knock that reaches the slot is passed on with its outcome.
func TestParts(t *testing.T) {
	f := verifytest.New(t, 2, "com1")
	var got []Outcome
	cfg := Config{
		Clients: []Client{{Identifier: verifytest.ID("com1")}},
		Parts:   func(_ verify.Knock, _ netip.Addr, o Outcome) { got = append(got, o) },
	}
	run(t, cfg, func(s *Sessions) {
		s.Deliver(f.Knock(t, "com1", minute, 10, 0), alice)
		s.Deliver(f.Knock(t, "com1", minute, 10, 1), alice)
		s.Deliver(f.Knock(t, "com1", minute, 20, 0), alice)
		s.Deliver(f.Knock(t, "com1", minute, 20, 1), bob)
	})
	if len(got) != 4 || got[0] != Recorded || got[1] != Opened || got[2] != Recorded || got[3] != OtherSource {
		t.Errorf("outcomes %v", got)
	}
}

// TestEntryOfTheAttemptThatOpens: if a waiting grant opens more than a newer one with another
// secret, it keeps its own entry: the nonces of one secret are none of the other.
func TestEntryOfTheAttemptThatOpens(t *testing.T) {
	q := newGrantQueue()
	var at [2]queuePosition
	q.put(&at, pendingGrant{grant: Grant{Address: alice}, entry: Entry{Secret: 1, Base: 10, Count: 3}})
	q.put(&at, pendingGrant{grant: Grant{Address: alice, Differ: 4}, entry: Entry{Secret: 2, Base: 50, Count: 3}})
	list := q.take()
	if len(list) != 1 || list[0].grant.Differ != 0 || list[0].entry.Secret != 1 || list[0].entry.Base != 10 {
		t.Errorf("waits: %+v", list)
	}
}
