package client

import (
	"net/netip"
	"time"
)

const (
	// namedPause is the time between the sequences to two addresses that the profile
	// names: eight of them take less than a second.
	namedPause = 100 * time.Millisecond
	// otherPause is how long the client waits for the addresses before, until it sends to
	// one that only the resolver gives.
	otherPause = 250 * time.Millisecond
	// carriedPause is the time between requests by HTTP for two addresses: each takes a
	// connection with TLS.
	carriedPause = time.Second
)

// The other family has a little more time than the first one took.
const (
	familyFactor = 3
	minFamily    = 50 * time.Millisecond
	maxFamily    = 250 * time.Millisecond
)

// familyTime returns how long the client waits for the other family, if the first one
// took so long.
func familyTime(took time.Duration) time.Duration {
	return min(max(familyFactor*took, minFamily), maxFamily)
}

// plan decides to which address of the server an attempt sends next, and when. It does no
// I/O, and reads no clock.
type plan struct {
	list  []planned
	ready time.Time     // when the client last sent, or learned that it need not wait
	last  int           // the address to which it sent then; -1: it need not wait
	pause time.Duration // the least one between two addresses
	// both: after an answer, the attempt goes on to the other family until a time.
	both     bool
	answered [2]bool // by family
	until    time.Time
}

// planned is an address of the server.
type planned struct {
	named  bool // by the profile, not only by the resolver
	family int
	sent   time.Time // zero: nothing was sent
	over   bool      // nothing is sent, or expected, from now on
}

func newPlan(now time.Time, both bool) *plan { return &plan{ready: now, last: -1, both: both} }

// add adds an address behind the others.
func (p *plan) add(named bool, a netip.Addr) {
	p.list = append(p.list, planned{named: named, family: familyOf(a)})
}

// due returns the address to which the client sends next, and when; ok is false if
// there is none.
func (p *plan) due() (i int, at time.Time, ok bool) {
	for i, a := range p.list {
		pause := otherPause
		if a.named || p.hasAnswer() {
			pause = namedPause
		}
		pause = max(pause, p.pause)
		switch at := p.readyAfter(pause); {
		case a.over, !a.sent.IsZero():
		case !p.hasAnswer():
			return i, at, true
		case p.matters(i):
			return i, at, at.Before(p.until)
		}
	}
	return 0, time.Time{}, false
}

// readyAfter returns the time that is a pause after the last sequence, unless the
// client need not wait for its answer.
func (p *plan) readyAfter(pause time.Duration) time.Time {
	if p.last < 0 || p.list[p.last].over {
		return p.ready
	}
	return p.ready.Add(pause)
}

// sent records that the client has sent a sequence to an address.
func (p *plan) sent(i int, now time.Time) {
	p.list[i].sent, p.ready, p.last = now, now, i
}

// over records that the client need not wait for an address.
func (p *plan) over(i int, now time.Time) {
	if p.list[i].over {
		return
	}
	p.list[i].over = true
	if i == p.last || p.last < 0 {
		p.ready = now
	}
}

// won records that the service has answered at an address. The attempt goes on to the
// other family, if both: to the addresses that the profile names, or to all if it names
// none, since each receives a sequence that is valid at the others.
func (p *plan) won(i int, now time.Time) {
	a := p.list[i]
	if !p.hasAnswer() {
		more := familyTime(now.Sub(a.sent))
		p.until, p.ready, p.last = now.Add(more), now, -1
	}
	p.answered[a.family] = true
	p.list[i].over = true
}

func (p *plan) hasAnswer() bool { return p.answered[0] || p.answered[1] }

// matters reports whether an address still matters after an answer.
func (p *plan) matters(i int) bool {
	a := p.list[i]
	return p.both && !p.answered[a.family] && (a.named || !p.anyNamed())
}

func (p *plan) anyNamed() bool {
	for _, a := range p.list {
		if a.named {
			return true
		}
	}
	return false
}

// familyOf returns the index of an address's family.
func familyOf(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}
