package forward

import (
	"net/netip"
	"time"
)

const (
	// assumedOpen is how long a service is taken to stay open if OpenFor is unknown.
	// Too long a time costs a connection its patience, and too short a time a knock.
	assumedOpen = 10 * time.Second

	// renewPause is the pause after a failed knock before the traffic of a flow causes
	// the next one.
	renewPause = 10 * time.Second
)

// lease is the last lease, as far as the client knows it: the server does not confirm.
type lease struct {
	n      int       // how many knocks have opened a service; 0: none
	begin  time.Time // of the last one, before its first packet
	server netip.Addr
}

// fresh reports whether services should be open.
func (l lease) fresh(now time.Time, openFor time.Duration) bool {
	return l.n > 0 && now.Before(l.end(openFor))
}

// end returns when the lease probably ends.
func (l lease) end(openFor time.Duration) time.Time {
	if openFor == 0 {
		openFor = assumedOpen
	}
	return l.begin.Add(openFor)
}

// halfOver reports whether it is time to renew the lease. A knock may be lost, so there
// must be time for another one. With an unknown duration, there is no such time.
func (l lease) halfOver(now time.Time, openFor time.Duration) bool {
	return l.n > 0 && openFor > 0 && !now.Before(l.begin.Add(openFor/2))
}

// pace bounds how often the client knocks: burst times at once, and then once in each
// pause. The zero value has its full burst.
type pace struct {
	full time.Time // when it has its full burst again
}

// take reserves the next knock, and returns how long it must wait.
func (p *pace) take(now time.Time, burst int, pause time.Duration) time.Duration {
	if p.full.Before(now) {
		p.full = now
	}
	wait := p.full.Sub(now) - time.Duration(burst-1)*pause
	p.full = p.full.Add(pause)
	return max(wait, 0)
}

const (
	silentTime = 3 * time.Second // without an answer, before the client knocks again
	minSilence = 5 * time.Second // between two such knocks; doubles
	maxSilence = time.Minute
)

// silence decides when a flow without answers causes a knock.
type silence struct {
	since time.Time // of the first datagram without an answer; zero: there is none
	next  time.Time // not before
	pause time.Duration
}

// sent records a datagram, and reports whether it is time to knock again.
func (s *silence) sent(now time.Time) bool {
	if s.since.IsZero() {
		s.since = now
	}
	if now.Sub(s.since) < silentTime || now.Before(s.next) {
		return false
	}
	s.pause = min(max(2*s.pause, minSilence), maxSilence)
	s.next = now.Add(s.pause)
	return true
}

// refused records an ICMP error: no answer will come.
func (s *silence) refused(now time.Time) { s.since = now.Add(-silentTime) }

// answered records an answer.
func (s *silence) answered() { *s = silence{} }
