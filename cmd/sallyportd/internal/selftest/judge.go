package selftest

import (
	"fmt"
	"time"

	"sallyport/sessions"
)

// Result is the result of a test.
type Result uint8

// The results. NumResults is how many there are.
const (
	Passed  Result = iota
	Missed         // nothing opened, and nothing excuses that
	Excused        // nothing opened, and it may have a cause that no restart removes
	NumResults
)

func (r Result) String() string { return [...]string{"passed", "missed", "excused"}[r] }

// Load is what may delay or drop knocks. Counts only grow.
type Load struct {
	// Dropped are datagrams and knocks that found a full queue: of the host's network, of a
	// socket or of the server.
	Dropped   uint64
	Crowded   bool          // a queue of the server is nearly full
	Unopened  int           // knock ports that could not be opened
	Offset    time.Duration // of the wall clock from the clock that is never set
	Suspended time.Duration // how long the host has been suspended
	Received  time.Time     // since when the server has received all knocks, by the boot clock
}

const (
	// maxLate is how much later than it should a test may end before the server counts as
	// short of processor time.
	maxLate = time.Second
	// maxShift is by how much the clocks may move against each other during a test.
	maxShift = time.Second
)

// evidence is what is known of a test that opened nothing.
type evidence struct {
	before, after Load
	knocks        int // sent
	outcomes      [sessions.NumOutcomes]int
	late          time.Duration
	slow          bool  // the record or the gate took long to answer
	unsent        error // the last attempt to send
}

// judge returns the result of a test that opened nothing, and why.
func judge(e evidence) (Result, string) {
	b, a := e.before, e.after
	switch {
	case e.unsent != nil:
		return Excused, fmt.Sprintf("its knocks cannot be sent: %v", e.unsent)
	case a.Dropped != b.Dropped:
		return Excused, "datagrams or knocks were dropped, as in a flood"
	case a.Crowded || b.Crowded:
		return Excused, "queues are nearly full"
	case e.late > maxLate:
		return Excused, "the server gets too little processor time"
	case a.Unopened > 0 || b.Unopened > 0:
		return Excused, "knock ports could not be opened"
	case e.outcomes[sessions.Unrecorded] > 0:
		return Excused, "the record of nonces cannot be written"
	case e.slow:
		return Excused, "the record of nonces, or the firewall, takes seconds to answer"
	case (a.Offset-b.Offset).Abs() > maxShift || (a.Suspended-b.Suspended).Abs() > maxShift:
		return Excused, "the clock was set, or the host was suspended"
	case !a.Received.Equal(b.Received) || e.outcomes[sessions.BeforeStart] > 0:
		return Excused, "older knocks are rejected"
	}
	if e.outcomes[sessions.Failed] > 0 {
		return Missed, "the gate refuses the grant"
	}
	// The last knock of an attempt has no outcome until the record has answered.
	return Missed, fmt.Sprintf("nothing opened; the session took %d of %d knocks", e.outcomes[sessions.Recorded], e.knocks)
}

// maxMisses is how many misses in a row stop the watchdog.
const maxMisses = 3

// verdicts are the results so far.
type verdicts struct {
	counts [NumResults]uint64
	row    int // misses in a row, since a test has passed
}

func (v *verdicts) add(r Result) {
	v.counts[r]++
	if r == Missed && v.counts[Passed] > 0 {
		v.row++
	} else {
		v.row = 0
	}
}

func (v *verdicts) alive() bool { return v.row < maxMisses }
