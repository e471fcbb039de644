package client

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"sallyport/verify/wire"
)

// The pauses between the beginnings of two connections to one service. A SYN that
// overtakes the knock, or arrives before the server has opened the service, is dropped
// or refused, so each costs the pause after it. A server whose grants wait for a disk
// opens some milliseconds after the last knock.
const (
	firstTry  = time.Millisecond // from the last knock
	firstGap  = time.Millisecond // grows by half
	lastGap   = 250 * time.Millisecond
	growthNum = 3
	growthDen = 2
)

// maxUnderWay is how many connections to one service are under way at a time. One more
// ends the oldest, which has then waited for at least a second.
const maxUnderWay = 16

const (
	// enoughClosed is how many connections the program behind the service must have
	// closed at once: it does not run, and will not run soon.
	enoughClosed = 3
	// enoughRefused is how long a service must have refused connections, if it dropped
	// them before the knock: the port is open, and nothing listens there.
	enoughRefused = time.Second
)

// lane is the watch at one service: when its connections begin, and what they show. It
// does no I/O, and reads no clock.
type lane struct {
	service netip.AddrPort
	isn     wire.ISN      // of the connections; 0: the kernel chooses
	prover  *ConnProver   // proves connections by package preamble; nil: no service asks for that
	was     func() before // what the service did before the knock, as far as it is known so far
	taken   func() bool   // the service was open before the knock, so that it is another one; nil: never

	next  time.Time     // the next connection begins
	gap   time.Duration // to the one after it
	until time.Time     // the lane ends
	held  bool          // no connection begins: one proves itself, or waits for that
	since time.Time     // it is held; valid if held
	over  bool
	ended time.Time // valid if over

	closed  int       // connections that the program has closed in order
	refused time.Time // the first refusal
	unheard bool      // no knock has arrived
	sighting
}

// newLane returns a lane that begins after a knock.
func newLane(service netip.AddrPort, knocked time.Time, timeout time.Duration, was func() before) *lane {
	return &lane{service: service, was: was, next: knocked.Add(firstTry), gap: firstGap, until: knocked.Add(timeout)}
}

// due returns when the lane requires something next: a connection, if begin, or its end.
func (l *lane) due() (at time.Time, begin bool) {
	if !l.next.Before(l.until) {
		return l.until, false
	}
	return l.next, true
}

// begun records that a connection begins.
func (l *lane) begun(now time.Time) {
	l.next = now.Add(l.gap)
	l.gap = min(l.gap*growthNum/growthDen, lastGap)
}

// failed records the error of a connection, and ends the lane if further ones would have
// the same.
func (l *lane) failed(err error, now time.Time) {
	// A timeout reveals less than an earlier error. When the service has answered after
	// the knock, its answer to an earlier SYN has arrived too.
	if l.err == nil || !timedOut(err) {
		if l.err == nil || timedOut(l.err) {
			l.sighting.before = l.was()
		}
		l.err = err
	}
	switch {
	case endsProofs(err), errors.Is(err, errNotChosen):
		l.end(now)
	case closedByProgram(err):
		if l.closed++; l.closed == enoughClosed {
			l.end(now)
		}
	case refused(err):
		if l.refused.IsZero() {
			l.refused = now
		}
		if l.unheard || l.letIn(now) {
			l.end(now)
		}
	}
}

// letIn reports whether the service has dropped connections before the knock, and has
// refused them since for long enough.
func (l *lane) letIn(now time.Time) bool {
	return refused(l.err) && l.sighting.before == beforeSilent && now.Sub(l.refused) >= enoughRefused
}

// displaced records that another program has the port.
func (l *lane) displaced(now time.Time) {
	l.sighting = sighting{before: l.was(), err: errTaken}
	l.end(now)
}

// hold lets no connection begin, and the lane not end by its time.
func (l *lane) hold(now time.Time) {
	if !l.held {
		l.held, l.since = true, now
	}
}

// release ends hold. More: the lane gets the time in which it was held.
func (l *lane) release(now time.Time, more bool) {
	if l.held && more {
		l.until = l.until.Add(now.Sub(l.since))
	}
	l.held = false
}

// end ends the lane.
func (l *lane) end(now time.Time) {
	if !l.over {
		l.over, l.ended = true, now
	}
}

// shorten ends the lane earlier.
func (l *lane) shorten(until time.Time) {
	if until.Before(l.until) {
		l.until = until
	}
}

// rejected records ICMP errors for the knocks. All: no knock has arrived, so a refusal of
// the service is all that can be known.
func (l *lane) rejected(all bool, now time.Time) {
	l.shorten(now.Add(afterICMP))
	if l.unheard = all; all && refused(l.err) {
		l.end(now)
	}
}

// expire ends the lane if its time is over.
func (l *lane) expire(now time.Time) {
	if l.over || l.held || now.Before(l.until) {
		return
	}
	if l.end(now); l.err == nil {
		l.sighting.before, l.err = l.was(), context.DeadlineExceeded // no answer so far
	}
}
