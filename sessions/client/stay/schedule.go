package stay

import "time"

// Reason is why a knock is due.
type Reason string

// The reasons.
const (
	Start   Reason = "start"   // the first knock
	Renewal Reason = "renewal" // the lease would end
	Network Reason = "network" // the address or the network has changed
	Resume  Reason = "resume"  // the host has resumed from a suspension
	Retry   Reason = "retry"   // the last knock has failed
)

const (
	// DefaultOpenFor is how long the service is expected to stay open after a knock if
	// that is not known. It is the default of the server's open_for.
	DefaultOpenFor = 10 * time.Second
	// MinEvery is the least time between two renewals.
	MinEvery = time.Second

	// maxEvery is the time between two renewals of a long lease.
	maxEvery = 2 * time.Minute
	// leastGap is the least time between the begins of two knocks, unless the caller
	// chooses a shorter time between renewals.
	leastGap = 2 * time.Second

	// settleTime is how long there must be no further change of the network before a
	// knock: an interface that comes up makes several. maxSettle is how long a knock waits
	// for that, at most.
	settleTime = 500 * time.Millisecond
	maxSettle  = 3 * time.Second

	// minBackoff is the pause after a failed knock. It doubles with each further one, to
	// maxBackoff. After manyFailures, about an hour, it is longBackoff, and a knock makes
	// one attempt: a failed attempt uses nonces at each address of the server, and a
	// client whose nonces are wire.MaxAhead above those of the server cannot get in by
	// itself.
	minBackoff   = 2 * time.Second
	maxBackoff   = time.Minute
	longBackoff  = 5 * time.Minute
	manyFailures = 60
)

// renewEvery returns the time between two renewals of a lease. Two fit into a lease: the
// second one begins, and has a fifth of the lease left, if the first is lost.
func renewEvery(openFor time.Duration) time.Duration {
	return min(max(openFor*2/5, MinEvery), maxEvery)
}

// schedule decides when the next knock is due. It is a pure function of the events so
// far, and of now.
type schedule struct {
	every, gap time.Duration

	begun    time.Time // the last knock; zero: none
	ended    time.Time // the last knock
	running  bool      // the last knock has not ended
	failures int       // knocks that have failed since the last success or change

	// Changes that no knock has followed: the first and the last one; zero: none.
	first, last time.Time
	change      Reason // of the last one
}

// newSchedule returns a schedule with a time between renewals. Begun is when the caller
// has begun a knock that opened the service; zero: there was none.
func newSchedule(every time.Duration, begun time.Time) *schedule {
	return &schedule{every: every, gap: min(leastGap, every), begun: begun, ended: begun}
}

// next returns when the next knock is due, and why. A zero time: only an event can make
// one due.
func (s *schedule) next(now time.Time) (at time.Time, why Reason) {
	switch {
	case s.begun.IsZero():
		return now, Start
	case s.running:
	case s.failures > 0:
		at, why = s.ended.Add(backoff(s.failures)), Retry
	default:
		at, why = s.begun.Add(s.every), Renewal
	}
	if settled := s.settled(); !settled.IsZero() && (at.IsZero() || settled.Before(at)) {
		at, why = settled, s.change
	}
	if free := s.begun.Add(s.gap); !at.IsZero() && at.Before(free) {
		at = free
	}
	return at, why
}

// settled returns when the changes of the network count as complete; zero: there are
// none.
func (s *schedule) settled() time.Time {
	if s.first.IsZero() {
		return time.Time{}
	}
	at := s.last.Add(settleTime)
	if latest := s.first.Add(maxSettle); latest.Before(at) {
		return latest
	}
	return at
}

// backoff returns the pause after so many failures.
func backoff(failures int) time.Duration {
	if failures >= manyFailures {
		return longBackoff
	}
	pause := minBackoff
	for i := 1; i < failures && pause < maxBackoff; i++ {
		pause *= 2
	}
	return min(pause, maxBackoff)
}

// single reports whether the next knock makes one attempt.
func (s *schedule) single() bool { return s.failures >= manyFailures }

// changed records a change of the network, or that the host has resumed.
func (s *schedule) changed(now time.Time, why Reason) {
	if s.first.IsZero() {
		s.first = now
	}
	s.last, s.change = now, why
}

// begin records that a knock begins. If one is running, the caller has ended it. Changes
// that are not complete yet make another knock due.
func (s *schedule) begin(now time.Time) {
	if settled := s.settled(); !settled.IsZero() && !settled.After(now) {
		s.first, s.last, s.failures = time.Time{}, time.Time{}, 0
	}
	s.begun, s.running = now, true
}

// end records the result of the knock that began last.
func (s *schedule) end(now time.Time, opened bool) {
	s.ended, s.running = now, false
	if s.failures++; opened {
		s.failures = 0
	}
}
