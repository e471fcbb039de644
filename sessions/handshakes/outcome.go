package handshakes

import "fmt"

// Outcome is what became of a packet, or of a slot.
type Outcome uint8

// The outcomes, of a packet in the order in which the greater one counts.
const (
	Unmatched   Outcome = iota // it continues nothing, and begins nothing
	NoSlot                     // no slot gave way
	Accepted                   // it is part of an exchange
	Refused                    // it ended one: it is not of the expected response
	RateLimited                // a request, beyond the challenges a second
	SendFailed                 // a request, whose challenge could not be sent
	Answered                   // a request, and its challenge was sent
	Verified                   // a response, which is right
	Evicted                    // a slot that gave way to another address, or request
	Outcomes    = iota
)

var names = [Outcomes]string{"unmatched", "no_slot", "accepted", "refused", "rate_limited", "send_failed", "answered", "verified", "evicted"}

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
