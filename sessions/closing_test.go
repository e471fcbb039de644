package sessions

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/verify/verifytest"
)

// TestClosingAttempt: n knocks that close end what their client has, once, and open
// nothing; fewer do not, and a replay of them does nothing.
func TestClosingAttempt(t *testing.T) {
	f := verifytest.New(t, 3, "com1", "com2")
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}, {Identifier: verifytest.ID("com2")}}}
	var closed []Closing
	cfg.Close = func(all []Closing) { closed = append(closed, all...) }
	grants, stats := run(t, cfg, func(s *Sessions) {
		for range 2 { // the second time is a replay
			for i := range 3 {
				s.Deliver(f.Closing(t, "com1", minute, 10, i), alice)
			}
		}
		s.Deliver(f.Closing(t, "com2", minute, 10, 0), alice)
		s.Deliver(f.Closing(t, "com2", minute, 10, 2), alice)
	})
	id := verifytest.ID("com1")
	made := Attempt{Secret: verifytest.Fingerprint(id), Base: 10, Timestamp: uint32(minute * 60), Count: 3}
	if len(grants) != 0 || len(closed) != 1 || closed[0] != (Closing{id, alice, made}) {
		t.Errorf("grants %v, closed %v", grants, closed)
	}
	if stats[Closed] != 1 || stats[Opened] != 0 || stats[Recorded] != 4 || stats[Replay] != 3 {
		t.Errorf("stats %v", stats)
	}
}

// TestNoAttemptOfBothKinds: an attacker who holds back knocks of an attempt that opens
// and of one that closes, or a faulty client, completes neither with the other's; nonces
// of either are used by both.
func TestNoAttemptOfBothKinds(t *testing.T) {
	f := verifytest.New(t, 3, "com1")
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}}
	closed := 0
	cfg.Close = func(all []Closing) { closed += len(all) }
	grants, stats := run(t, cfg, func(s *Sessions) {
		s.Deliver(f.Knock(t, "com1", minute, 10, 0), alice)
		s.Deliver(f.Closing(t, "com1", minute, 10, 1), alice)
		s.Deliver(f.Knock(t, "com1", minute, 10, 2), alice)
		s.Deliver(f.Knock(t, "com1", minute, 10, 1), alice) // its nonce is used

		s.Deliver(f.Closing(t, "com1", minute, 20, 0), alice)
		s.Deliver(f.Closing(t, "com1", minute, 20, 1), alice)
		s.Deliver(f.Knock(t, "com1", minute, 20, 2), alice)
		s.Deliver(f.Closing(t, "com1", minute, 20, 2), alice)
	})
	if len(grants) != 0 || closed != 0 || stats[OtherPurpose] != 2 || stats[Replay] != 2 {
		t.Errorf("grants %v, %d closed, stats %v", grants, closed, stats)
	}
}

// TestNothingOpensAfterAClose: an attempt to open from before a closing one opens nothing
// after it, although an attacker has held back its last knock, or all of them. A later
// attempt opens.
func TestNothingOpensAfterAClose(t *testing.T) {
	f := verifytest.New(t, 3, "com1")
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}}
	closed := 0
	cfg.Close = func(all []Closing) { closed += len(all) }
	grants, stats := run(t, cfg, func(s *Sessions) {
		s.Deliver(f.Knock(t, "com1", minute, 20, 0), alice)
		s.Deliver(f.Knock(t, "com1", minute, 20, 1), alice)
		for i := range 3 {
			s.Deliver(f.Closing(t, "com1", minute, 30, i), alice)
		}
		s.Deliver(f.Knock(t, "com1", minute, 20, 2), alice)
		for i := range 3 {
			s.Deliver(f.Knock(t, "com1", minute, 10, i), alice)
		}
		for i := range 3 {
			s.Deliver(f.Knock(t, "com1", minute, 40, i), bob)
		}
	})
	if len(grants) != 1 || grants[0].Address != bob || closed != 1 {
		t.Errorf("grants %v, %d closed", grants, closed)
	}
	if stats[Replay] != 1 || stats[Older] != 3 {
		t.Errorf("stats %v", stats)
	}
}

// TestNothingClosesAfterAnOpen: a closing attempt from before a complete one that opens
// closes nothing after it: neither one whose last knock an attacker has held back, nor one
// that found no lease, and of which all nonces are unused.
func TestNothingClosesAfterAnOpen(t *testing.T) {
	f := verifytest.New(t, 3, "com1")
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}}
	closed := 0
	cfg.Close = func(all []Closing) { closed += len(all) }
	grants, stats := run(t, cfg, func(s *Sessions) {
		s.Deliver(f.Closing(t, "com1", minute, 20, 0), alice)
		s.Deliver(f.Closing(t, "com1", minute, 20, 1), alice)
		for i := range 3 {
			s.Deliver(f.Knock(t, "com1", minute, 30, i), alice)
		}
		s.Deliver(f.Closing(t, "com1", minute, 20, 2), alice)
		for i := range 3 {
			s.Deliver(f.Closing(t, "com1", minute, 10, i), alice)
		}
		for i := range 3 { // of the same kind, it only comes late
			s.Deliver(f.Knock(t, "com1", minute, 24, i), alice)
		}
	})
	if stats[Opened]+stats[Superseded] != 2 || closed != 0 || stats[Replay] != 1 || stats[Older] != 3 {
		t.Errorf("grants %v, %d closed, stats %v", grants, closed, stats)
	}
}

// TestClosesWithoutADisk: a closing attempt takes effect if its nonces cannot be
// recorded; one that opens does not.
func TestClosesWithoutADisk(t *testing.T) {
	f := verifytest.New(t, 1, "com1", "com2")
	cfg := Config{
		Clients: []Client{{Identifier: verifytest.ID("com1")}, {Identifier: verifytest.ID("com2")}},
		Journal: journalFunc(func([]Entry) error { return errors.New("the disk is full") }),
	}
	closed := 0
	cfg.Close = func(all []Closing) { closed += len(all) }
	grants, stats := run(t, cfg, func(s *Sessions) {
		s.Deliver(f.Closing(t, "com1", minute, 1, 0), alice)
		s.Deliver(f.Knock(t, "com2", minute, 1, 0), alice)
	})
	if len(grants) != 0 || closed != 1 || stats[Closed] != 1 || stats[Unrecorded] != 1 {
		t.Errorf("grants %v, %d closed, stats %v", grants, closed, stats)
	}
}

// TestClosingIsLimited: by the bucket of its client, as an attempt that opens.
func TestClosingIsLimited(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}, Limit: Limit{Pause: time.Hour, Burst: 2}}
	cfg.Close = func([]Closing) {}
	_, stats := run(t, cfg, func(s *Sessions) {
		for i := range uint32(5) {
			s.Deliver(f.Closing(t, "com1", minute, i, 0), alice)
			synctest.Wait()
		}
	})
	if stats[Closed] != 2 || stats[RateLimited] != 3 {
		t.Errorf("stats %v", stats)
	}
}

// TestClosingPrecedesLaterGrants: attempts that wait together have the effect that they
// would have one after another.
func TestClosingPrecedesLaterGrants(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	var story []string
	gate := gateFunc(func(g Grant) error { story = append(story, "open "+g.Address.String()); return nil })
	r := newRecorder(discardJournal, gate, func([]Closing) { story = append(story, "close") }, slog.New(slog.DiscardHandler))
	s := newShard(r, Config{Now: time.Now, Limit: unlimited})
	s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}}))
	s.handle(arrival{f.Knock(t, "com1", minute, 1, 0), alice})
	s.handle(arrival{f.Knock(t, "com1", minute, 2, 0), bob})
	s.handle(arrival{f.Closing(t, "com1", minute, 3, 0), bob})
	s.handle(arrival{f.Knock(t, "com1", minute, 4, 0), bob})
	r.drain()
	if len(story) != 2 || story[0] != "close" || story[1] != "open "+bob.String() {
		t.Errorf("%q", story)
	}
	if counts := s.outcomes(); counts[Superseded] != 2 || counts[Opened] != 1 || counts[Closed] != 1 {
		t.Errorf("%v", counts)
	}
}

// TestClosingIsRecordedBeforeAGrant: of a closing attempt and one that opens in the same
// batch, both are recorded, so that other gateways carry out both. If another gateway has
// recorded the closing one, only the other one takes effect.
func TestClosingIsRecordedBeforeAGrant(t *testing.T) {
	t.Parallel()
	id := verifytest.ID("com1")
	secret := verifytest.Fingerprint(id)
	made := func(base uint32) Attempt { return Attempt{Secret: secret, Base: base, Timestamp: base, Count: 3} }
	pending := func(base uint32) pendingGrant {
		p := pendingGrant{grant: Grant{Identifier: id, Address: alice, Attempt: made(base)}}
		p.entry = Entry{Identifier: id, Secret: secret, HighestNonce: base + 2, Stamp: base, Base: base, Count: 3}
		return p
	}
	for _, replay := range []bool{false, true} {
		opened, closed := 0, 0
		var entries []Entry
		journal := journalsFunc(func(list []Entry) []error {
			entries = append(entries, list...)
			errs := make([]error, len(list))
			for i, e := range list {
				if replay && e.Base == 10 {
					errs[i] = ErrUsed
				}
			}
			return errs
		})
		gate := gateFunc(func(Grant) error { opened++; return nil })
		r := newRecorder(journal, gate, func(all []Closing) { closed += len(all) }, slog.New(slog.DiscardHandler))
		q := r.newQueue()
		var positions [2]queuePosition
		closing := pending(10)
		closing.closedFrom, closing.closedBy, closing.empty = alice, made(10), true
		q.put(&positions, closing)
		q.put(&positions, pending(20))
		r.drain()
		if len(entries) != 2 || entries[0].Base != 20 || entries[1].Base != 10 || entries[1].Stamp != 10 || entries[1].HighestNonce != 22 {
			t.Errorf("recorded %+v", entries)
		}
		if opened != 1 || closed == 1 == replay {
			t.Errorf("replay %v: %d opened, %d closed", replay, opened, closed)
		}
	}
}

// journalsFunc is a Journal.
type journalsFunc func([]Entry) []error

func (f journalsFunc) Record(list []Entry) []error { return f(list) }
