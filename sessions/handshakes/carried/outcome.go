package carried

import "fmt"

// Outcome is the result of a message, or of an exchange: those from Evicted on. Each
// outcome is one counter.
type Outcome uint8

// The outcomes.
const (
	Unmatched   Outcome = iota // a request for no operation, or a response without an exchange
	Conflicting                // another request with the number of an exchange
	RateLimited                // a request, beyond the challenges a second
	Failed                     // a request, whose challenge could not be made: no port is free
	Answered                   // a request, which got a challenge
	Repeated                   // the same request again, which got the same challenge
	Refused                    // a response, which is wrong, and ended its exchange
	Verified                   // a response, which is right
	Evicted                    // an exchange that gave way to another one before its response
	Expired                    // an exchange whose response did not arrive in time
	NumOutcomes = iota
)

var outcomeNames = [NumOutcomes]string{
	"unmatched", "conflicting", "rate_limited", "failed", "answered", "repeated", "refused", "verified", "evicted", "expired",
}

// String returns the name of the outcome's counter.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

func (t *Table) count(o Outcome) { t.counts[o].Add(1) }

// Stats returns the number of messages, or exchanges, with each outcome.
func (t *Table) Stats() (sum [NumOutcomes]uint64) {
	for o := range sum {
		sum[o] = t.counts[o].Load()
	}
	return sum
}
