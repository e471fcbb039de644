package exchanges

import "fmt"

// Outcome is what became of a packet, or of a slot.
type Outcome uint8

// The outcomes, of a packet in the order in which the greater one counts.
const (
	Stray    Outcome = iota // it continues nothing, and begins nothing
	Crowded                 // no slot gave way
	Taken                   // it is part of an exchange
	Refused                 // it ended one: it is not of the expected response
	Limited                 // a request, beyond the challenges a second
	Unsent                  // a request, whose challenge could not be sent
	Answered                // a request, and its challenge was sent
	Proved                  // a response, which is right
	Evicted                 // a slot that gave way to another address, or request
	Outcomes = iota
)

var names = [Outcomes]string{"stray", "crowded", "taken", "refused", "limited", "unsent", "answered", "proved", "evicted"}

// String returns the outcome's name, as counters have it.
func (o Outcome) String() string {
	if int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

func (t *Table) count(o Outcome) { t.counts[o].Add(1) }

// Stats returns how often there was each outcome.
func (t *Table) Stats() (sum [Outcomes]uint64) {
	for o := range sum {
		sum[o] = t.counts[o].Load()
	}
	return sum
}
