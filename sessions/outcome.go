package sessions

// Outcome is the result of an authenticated knock. Each outcome is one counter.
type Outcome uint8

// The outcomes.
const (
	Recorded      Outcome = iota // added to an attempt that is not complete yet
	Opened                       // completed its attempt: the grant is in the journal, and the gate was called
	Replay                       // its nonce was used before, or is below the window
	Older                        // of an attempt that the slot cannot hold: it is too old, or shares nonces with another
	OtherSource                  // of an attempt in the slot, but from another address: that attempt opens nothing
	Unknown                      // of a client that has no slot
	QueueFull                    // dropped: the shard's queue was full
	BeforeStart                  // stamped before the start, or when the record may lack nonces; its nonce counts as used
	Unrecorded                   // completed its attempt, but the journal returned an error: nothing opened
	Failed                       // completed its attempt, but the gate could not open; counted as Opened too
	RateLimited                  // completed its attempt, but its client is over its limit: nothing opened
	Superseded                   // completed its attempt, but a newer grant of its client replaced the grant
	OtherMinute                  // of an attempt in the slot, but for another minute
	OtherPurpose                 // closes, and is of an attempt in the slot that opens, or the reverse
	Closed                       // completed a closing attempt: the client's leases have ended
	UsedElsewhere                // completed its attempt, but another gateway of the fleet has used one of its nonces

	// NumOutcomes is the number of outcomes.
	NumOutcomes = int(UsedElsewhere) + 1
)

var outcomeNames = [NumOutcomes]string{
	"recorded", "opened", "replay", "older", "other_source", "unknown", "queue_full", "before_start", "unrecorded",
	"failed", "rate_limited", "superseded", "other_minute", "other_purpose", "closed",
	"used_elsewhere",
}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}
