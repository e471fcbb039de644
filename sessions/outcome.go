package sessions

// Outcome says what became of an authenticated knock. Each is one counter.
type Outcome uint8

// The outcomes.
const (
	Recorded    Outcome = iota // one of an attempt that is not yet complete
	Opened                     // completed its attempt: it is in the journal, and the gate was asked to open
	Replay                     // its nonce was used before, or lies below the window
	Older                      // of an attempt older than the newest, or one that shares nonces with it
	OtherSource                // of the newest attempt, but from another address or for another minute
	Unknown                    // of a client that has no slot
	QueueFull                  // dropped: the shard's queue was full
	BeforeStart                // stamped before the start, or when nonces may have been used of which no record is left; its nonce is used
	Unrecorded                 // completed its attempt, but the journal did not take it: nothing opened
	Failed                     // completed its attempt, but the gate could not open; counted as Opened too
	RateLimited                // completed its attempt, but its client has opened too often just now: nothing opened
	Superseded                 // completed its attempt, but a newer one of its client came before it was recorded: that one counts

	// Outcomes is how many there are.
	Outcomes = int(Superseded) + 1
)

var outcomeNames = [Outcomes]string{
	"recorded", "opened", "replay", "older", "other_source", "unknown", "queue_full", "before_start", "unrecorded", "failed",
	"rate_limited", "superseded",
}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}
