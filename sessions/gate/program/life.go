package program

import "time"

const (
	// minRestart is the least time between two starts of a program: a client that
	// opens and closes as fast as it can starts few processes.
	minRestart = time.Second
	// maxRestart is the longest pause before a program that has failed is started
	// again. The pause begins with minRestart, and doubles with each failure.
	maxRestart = time.Minute
	// steady is how long a program must have accepted connections, for its next
	// failure to count as the first one.
	steady = time.Minute
)

// phase is what a program is doing.
type phase uint8

// The phases.
const (
	absent    phase = iota // no process of it is left; notBefore may hold up the next start
	starting               // it does not accept connections yet
	accepting              // it has accepted connections
	stopping               // Run.Stop was called
)

// todo is what Backend must do.
type todo uint8

const (
	doNothing todo = iota
	doStart
	doStop // it is not needed
	doFail // it is too slow: stop it, and count a failure
)

// life decides when a program starts and stops. Its methods are pure functions of
// the calls so far, and of now.
type life struct {
	phase     phase
	deadline  time.Time // of starting
	began     time.Time // the last start
	notBefore time.Time // of the next start
	failures  int       // in a row
	why       error     // of the last failure; nil: it was stopped, or never ran
}

// due returns what must be done now. A call of started, failed or stops follows,
// except after doNothing.
func (l *life) due(now time.Time, needed bool) todo {
	switch {
	case l.phase == absent && needed && !now.Before(l.notBefore):
		return doStart
	case (l.phase == starting || l.phase == accepting) && !needed:
		return doStop
	case l.phase == starting && !now.Before(l.deadline):
		return doFail
	}
	return doNothing
}

// next returns when something will be due; zero: not before something happens.
func (l *life) next(needed bool) time.Time {
	switch {
	case l.phase == absent && needed:
		return l.notBefore
	case l.phase == starting:
		return l.deadline
	}
	return time.Time{}
}

// started: a run has begun, which must accept connections within a time.
func (l *life) started(now time.Time, within time.Duration) {
	l.phase, l.began, l.deadline = starting, now, now.Add(within)
}

// accepts: the program accepts connections.
func (l *life) accepts() { l.phase = accepting }

// stops: Run.Stop was called.
func (l *life) stops() { l.phase = stopping }

// stopped: the run has ended after Run.Stop.
func (l *life) stopped() {
	l.phase, l.why = absent, nil
	l.notBefore = l.began.Add(minRestart)
}

// failed: the run has ended by itself, or was too slow, or has not begun.
func (l *life) failed(now time.Time, err error) {
	if l.phase == accepting && now.Sub(l.began) >= steady {
		l.failures = 0
	}
	l.failures++
	pause := maxRestart
	if n := l.failures - 1; n < 6 {
		pause = min(minRestart<<n, maxRestart)
	}
	l.phase, l.why, l.notBefore = absent, err, now.Add(pause)
}
