package gate

import (
	"container/heap"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// A kept lease has no end: it lasts until a command closes it, its client loses the
// right, or the administrator ends it. No enforcer knows that. Each gets a change
// with an end, at most MaxHorizon away, which Run renews in time. So if all
// processes die, the kernel closes the service by itself, as after other leases.

// MaxHorizon is the longest time for which an enforcer admits the peer of a kept
// lease without a renewal. For a service with a shorter OpenMax, it is OpenMax: no
// change exceeds that, and the holder allows none.
const MaxHorizon = 2 * time.Minute

// renewRetry is the time between two attempts to renew a lease.
const renewRetry = time.Second

// horizon returns how far away the end of a kept lease is set.
func (l *Leases) horizon() time.Duration { return min(l.openMax, MaxHorizon) }

// dueOf returns when a lease that ends at a time is due: a kept one in the middle
// of the horizon before, so that an enforcer may fail for some time.
func (l *Leases) dueOf(kept bool, until time.Time) time.Time {
	if kept {
		return until.Add(-l.horizon() / 2)
	}
	return until
}

// Keep makes the lease of a client and a peer a kept one, which Add has begun or
// extended, and returns a function that undoes that. A later Add does not shorten
// it, and it stays kept until it ends.
func (l *Leases) Keep(id wire.Identifier, p access.Peer) (undo func()) {
	le := l.find(id, p)
	if le == nil || le.kept {
		return func() {}
	}
	mark := func(kept bool) {
		if l.find(id, p) == le {
			le.kept = kept
			l.postpone(le, l.dueOf(kept, le.until))
		}
	}
	mark(true)
	return func() { mark(false) }
}

// Renewable returns the kept leases that must be renewed now.
func (l *Leases) Renewable(now time.Time) (renewable []ended) {
	for _, le := range l.byEnd {
		if le.kept && !now.Before(le.due) {
			renewable = append(renewable, endedOf(le))
		}
	}
	return renewable
}

// Renew sets the end of a kept lease to the horizon, and returns it, with a function
// that undoes that. After undo, the lease is due again after renewRetry, or at its
// end.
func (l *Leases) Renew(id wire.Identifier, p access.Peer, now time.Time) (until time.Time, undo func()) {
	le := l.find(id, p)
	if le == nil || !le.kept {
		return until, func() {}
	}
	before := le.until
	until = later(before, now.Add(l.horizon()))
	l.set(le, until)
	return until, func() {
		if l.find(id, p) == le {
			l.set(le, before)
			l.postpone(le, earlier(before, now.Add(renewRetry)))
		}
	}
}

// IsKept reports whether a client has a kept lease for a peer.
func (l *Leases) IsKept(id wire.Identifier, p access.Peer) bool {
	le := l.find(id, p)
	return le != nil && le.kept
}

func (l *Leases) postpone(le *lease, due time.Time) {
	le.due = due
	heap.Fix(&l.byEnd, le.index)
}

// firstToEnd orders leases: those that end first, and then kept ones.
func firstToEnd(a, b *lease) int {
	switch {
	case a.kept != b.kept && a.kept:
		return 1
	case a.kept != b.kept:
		return -1
	case a.kept:
		return a.from.Compare(b.from)
	}
	return a.until.Compare(b.until)
}

// renew renews the kept leases that are due, with one Apply for each enforcer. A
// lease that no enforcer can renew ends at its end.
func (s *Service) renew(now time.Time) {
	due := s.leases.Renewable(now)
	if len(due) == 0 {
		return
	}
	requests := make([]*request, len(due))
	for i, le := range due {
		requests[i] = &request{service: s, grant: grantOf(le), any: le.peer == access.AnyAddress, renews: true}
	}
	open(s.enforcers, requests)
	failed := 0
	var err error
	for _, r := range requests {
		if r.err != nil {
			failed, err = failed+1, r.err
		}
	}
	switch {
	case failed > 0 && !s.renewFailed:
		s.log.Error("failed to renew leases without an end; retrying", "service", s.Name, "with_leases", failed, "error", err)
	case failed == 0 && s.renewFailed:
		s.log.Info("leases without an end renewed again", "service", s.Name)
	}
	s.renewFailed = failed > 0
}
