package sessions

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/verify/replay"
	"sallyport/verify/verifytest"
)

// usedJournal answers ErrUsed for the attempts of one client.
type usedJournal string

func (j usedJournal) Record(entries []Entry) []error {
	errs := make([]error, len(entries))
	for i, e := range entries {
		if e.Identifier.String() == string(j) {
			errs[i] = ErrUsed
		}
	}
	return errs
}

// TestUsedElsewhere: an attempt whose nonces another gateway has used opens nothing and
// closes nothing, and fails no other client of the same record.
func TestUsedElsewhere(t *testing.T) {
	f := verifytest.New(t, 1, "com1", "com2")
	cfg := Config{
		Clients: []Client{{Identifier: verifytest.ID("com1")}, {Identifier: verifytest.ID("com2")}},
		Journal: usedJournal("com1"), Limit: unlimited,
	}
	closed := 0
	cfg.Close = func(all []Closing) { closed += len(all) }
	grants, stats := run(t, cfg, func(s *Sessions) {
		s.Deliver(f.Knock(t, "com1", minute, 1, 0), alice)
		s.Deliver(f.Knock(t, "com2", minute, 1, 0), bob)
		synctest.Wait()
		s.Deliver(f.Closing(t, "com1", minute, 3, 0), alice)
	})
	if len(grants) != 1 || grants[0].Address != bob || closed != 0 {
		t.Errorf("grants %v, %d closed", grants, closed)
	}
	if want := ([NumOutcomes]uint64{Opened: 1, UsedElsewhere: 2}); stats != want {
		t.Errorf("stats %v", stats)
	}
}

// TestConnectionUsedElsewhere: a connection whose nonce another gateway has used is
// refused, and another client's in the same record is not.
func TestConnectionUsedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, v := connections(t, usedJournal("com1"))
		for id, want := range map[string]Outcome{"com1": UsedElsewhere, "com2": Recorded} {
			if _, use := begin(t, s, v, id, time.Now(), 7); use() != want {
				t.Errorf("%s: want %s", id, want)
			}
		}
	})
}

// TestLearn: nonces that others have used are used, also those of an attempt that has
// begun; others of the window are not. Unknown clients and secrets are left out.
func TestLearn(t *testing.T) {
	f := verifytest.New(t, 2, "com1")
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}, Limit: unlimited}
	_, stats := run(t, cfg, func(s *Sessions) {
		s.Deliver(f.Knock(t, "com1", minute, 10, 0), alice)
		synctest.Wait()
		secret := f.Knock(t, "com1", minute, 10, 0).Secret()
		var w replay.Window
		for _, n := range []uint32{10, 11, 30, 31} {
			w.Accept(n)
		}
		used := Entry{Identifier: verifytest.ID("com1"), Secret: secret, HighestNonce: 31, Ring: w.Ring()}
		other, unknown := used, used
		other.Secret++
		other.HighestNonce = 1000
		unknown.Identifier = verifytest.ID("com9")
		if err := s.Learn(context.Background(), []Entry{unknown, other, used}); err != nil {
			t.Error(err)
		}
		for _, base := range []uint32{30, 20, 40} {
			for i := range 2 {
				s.Deliver(f.Knock(t, "com1", minute, base, i), alice)
			}
			synctest.Wait()
		}
		s.Deliver(f.Knock(t, "com1", minute, 10, 1), alice)
	})
	if want := ([NumOutcomes]uint64{Recorded: 3, Replay: 3, Opened: 2}); stats != want {
		t.Errorf("stats %v", stats)
	}
}
