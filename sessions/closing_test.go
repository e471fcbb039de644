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
	if len(grants) != 0 || len(closed) != 1 || closed[0] != (Closing{verifytest.ID("com1"), alice}) {
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
