package sessions

import (
	"time"

	"sallyport/verify"
	"sallyport/verify/replay"
)

const (
	// maxAttempts is the number of attempts that a slot holds. A client sends one to each
	// address of the server that it knows, of both families, within a second; they arrive
	// interleaved, or in another order. Each takes 40 bytes of every client.
	maxAttempts = 4
	// reorderTime is how long after an attempt has begun an older one may begin.
	// A sequence to an address that is not the server's never arrives here, and the host
	// with this address has read it.
	reorderTime = milliseconds(2 * time.Second / time.Millisecond)
)

// milliseconds are those of the boot clock, modulo 49 days: an attempt that began so long
// before, to the second, counts as one that has just begun, for reorderTime only.
type milliseconds uint32

// slot holds the newest attempts of a client with one secret: those with the highest
// bases of all of which a knock has been accepted. They have no nonce in common. The
// zero value holds none.
type slot struct {
	attempts [maxAttempts]attempt // in no order
	held     uint8                // how many there are
	last     uint8                // n-1
}

// record adds a knock with an unused nonce to its attempt, which it returns, too. The
// outcome is Opened for the knock that completes an attempt, which happens once. When
// an attempt leaves the slot, all its nonces count as used in the secret's window.
func (s *slot) record(k *verify.Knock, from source, allowed Spread, now milliseconds, w *replay.Window) (Outcome, *attempt) {
	a := s.find(k, from, now, w)
	if a == nil {
		return Older, nil
	}
	outcome := a.record(k, from, allowed)
	if outcome == Opened {
		s.retireBefore(a, w)
	}
	return outcome, a
}

// retireBefore makes no attempt of the other kind complete that a complete one follows:
// what the client has closed must not open, or the reverse, because a knock was delayed.
func (s *slot) retireBefore(complete *attempt, w *replay.Window) {
	for i := range s.attempts[:s.held] {
		if a := &s.attempts[i]; a.base < complete.base && a.is(closes) != complete.is(closes) {
			a.retire(s.last, w)
		}
	}
}

// find returns the attempt of a knock, which may begin with it; nil: the slot does not
// hold it. An attempt cannot begin if the slot is full of newer ones, or if a newer one
// began too long ago, or is complete and of the other kind. A base that is another nonce of a held attempt does not come
// from an honest client.
func (s *slot) find(k *verify.Knock, from source, now milliseconds, w *replay.Window) *attempt {
	base, last := int64(k.Base()), int64(k.Maximum())
	newer, oldest, late := 0, 0, false
	for i := range s.attempts[:s.held] {
		a := &s.attempts[i]
		switch d := int64(a.base) - base; {
		case d == 0:
			return a
		case -last <= d && d <= last:
			return nil
		case d > 0:
			newer, late = newer+1, late || now-a.began > reorderTime || a.count > s.last && a.is(closes) != k.Closes()
		}
		if a.base < s.attempts[oldest].base {
			oldest = i
		}
	}
	if newer == maxAttempts || late {
		return nil
	}
	a := &s.attempts[oldest]
	if s.held == maxAttempts {
		a.retire(s.last, w)
	} else {
		a = &s.attempts[s.held]
		s.held++
	}
	*a, s.last = newAttempt(k, from, now), uint8(last)
	return a
}

// retire empties the slot. All nonces of its attempts count as used.
func (s *slot) retire(w *replay.Window) {
	for i := range s.attempts[:s.held] {
		s.attempts[i].retire(s.last, w)
	}
	*s = slot{}
}
