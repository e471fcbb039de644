package handshakes

import "fmt"

// Outcome is the result of a packet, or of a slot: those from Evicted on. Each
// outcome is one counter.
type Outcome uint8

// The outcomes. If a packet has several, the greatest counts.
const (
	Unmatched   Outcome = iota // it continues nothing, and begins nothing
	NoSlot                     // no slot gave way
	Accepted                   // it is part of an exchange
	Refused                    // it ended one: it is not of the expected response
	Elsewhere                  // a request of which this host received no packet: another gateway answers it
	RateLimited                // a request, beyond the challenges a second
	SendFailed                 // a request, whose challenge could not be sent
	Answered                   // a request, and its challenge was sent
	Verified                   // a response, which is right
	Evicted                    // a slot that gave way to another address, or request
	// A slot that expired before its message was complete: see incomplete.
	RequestIncomplete
	ResponseIncomplete
	NumOutcomes = iota
)

var outcomeNames = [NumOutcomes]string{
	"unmatched", "no_slot", "accepted", "refused", "elsewhere", "rate_limited", "send_failed", "answered", "verified", "evicted",
	"request_incomplete", "response_incomplete",
}

// String returns the name of the outcome's counter.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

func (t *Table) count(o Outcome) { t.counts[o].Add(1) }

// Stats returns the number of packets, or slots, with each outcome.
func (t *Table) Stats() (sum [NumOutcomes]uint64) {
	for o := range sum {
		sum[o] = t.counts[o].Load()
	}
	return sum
}
