package sessions

import (
	"sync/atomic"
	"testing"

	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// TestMarks: the mark of a secret follows its window: from the recorded nonce, by each
// accepted knock, by a list with a higher nonce, and through a rotation, to the floors
// of the new key table.
func TestMarks(t *testing.T) {
	f := verifytest.New(t, 3, "com1")
	id := verifytest.ID("com1")
	s := newTestShard(gateFunc(func(Grant) error { return nil }))
	secret := verifytest.Fingerprint(id)
	expect := func(when string, mark *atomic.Uint32, want uint32) {
		t.Helper()
		if got := mark.Load(); got != want {
			t.Fatalf("%s: mark %d, want %d", when, got, want)
		}
	}
	floor := func(mark *atomic.Uint32) *verify.Floor {
		f := new(verify.Floor)
		f.Mirror(mark)
		return f
	}
	var mark, current, previous atomic.Uint32
	s.replace([]Client{{Identifier: id, Current: Secret{Fingerprint: secret, Floor: floor(&mark)}}})
	expect("no nonce used", &mark, 0)
	s.handle(arrival{f.Knock(t, "com1", minute, 0, 0), alice})
	expect("the first nonce, of which the mark must not say that it is unknown", &mark, 1)
	s.handle(arrival{f.Knock(t, "com1", minute, 0, 1), alice})
	expect("the nonce that the mark named too early", &mark, 1)
	s.replace([]Client{{Identifier: id, Current: Secret{Fingerprint: secret, HighestNonce: 1000, Floor: floor(&mark)}}})
	expect("recorded", &mark, 1000)
	s.handle(arrival{f.Knock(t, "com1", minute, 2000, 1), alice})
	expect("accepted", &mark, 2001)
	s.handle(arrival{f.Knock(t, "com1", minute, 2000, 0), alice})
	expect("overtaken", &mark, 2001)
	s.replace([]Client{{Identifier: id, Current: Secret{Fingerprint: secret, HighestNonce: 3000, Floor: floor(&mark)}}})
	expect("raised by a reload", &mark, 3000)
	s.replace([]Client{{
		Identifier: id,
		Current:    Secret{Fingerprint: secret + 1, Floor: floor(&current)},
		Previous:   Secret{Fingerprint: secret, Floor: floor(&previous)},
	}})
	expect("new secret", &current, 0)
	expect("previous secret", &previous, 3000)
	s.handle(arrival{f.Knock(t, "com1", minute, 4000, 0), alice})
	expect("new secret", &current, 0)
	expect("previous secret, accepted", &previous, 4000)
}

// TestResync: the mark of a client is not known until a higher nonce is accepted, also
// through a reload. The nonces that were used stay used.
func TestResync(t *testing.T) {
	f := verifytest.New(t, 3, "com1")
	id := verifytest.ID("com1")
	s := newTestShard(gateFunc(func(Grant) error { return nil }))
	var mark atomic.Uint32
	list := func() []Client {
		floor := new(verify.Floor)
		floor.Mirror(&mark)
		return []Client{{Identifier: id, Current: Secret{Fingerprint: verifytest.Fingerprint(id), HighestNonce: 1000, Floor: floor}}}
	}
	expect := func(when string, want uint32) {
		t.Helper()
		if got := mark.Load(); got != want {
			t.Fatalf("%s: mark %d, want %d", when, got, want)
		}
	}
	s.replace(list())
	if s.resync(verifytest.ID("none")) || !s.resync(id) {
		t.Fatal("resync finds the wrong clients")
	}
	expect("forgotten", 0)
	s.replace(list())
	expect("after a reload", 0)
	before := s.counts[Replay].Load()
	s.handle(arrival{f.Knock(t, "com1", minute, 999, 0), alice})
	if s.counts[Replay].Load() != before+1 {
		t.Error("a used nonce was accepted")
	}
	expect("after a replay", 0)
	s.handle(arrival{f.Knock(t, "com1", minute, 2<<20, 0), alice})
	expect("accepted", 2<<20)
	s.resync(id)
	s.handle(arrival{f.Knock(t, "com1", minute, 2<<20-10, 0), alice}) // an older one that was delayed
	expect("still forgotten", 0)
	raised := list()
	raised[0].Current.HighestNonce = 3 << 20
	s.replace(raised)
	expect("raised by others", 3<<20)
}
