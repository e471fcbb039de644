package split

// Outcome is what became of a part of an attempt. Each is one counter.
type Outcome uint8

// The outcomes.
const (
	Published   Outcome = iota // etcd has the part
	Completed                  // the part was the last one: the attempt goes on to the sessions
	RateLimited                // not published: the client has published too many parts lately
	Crowded                    // not published: too many attempts of its client waited, or newer ones are in etcd
	QueueFull                  // not published: too many attempts of all clients waited
	Unavailable                // not published: etcd did not answer, or others changed the key at each try
	Ended                      // not published: the secret has ended
	Malformed                  // a value in etcd was in no known format
	Forged                     // a part in etcd was not authentic

	// NumOutcomes is the number of outcomes.
	NumOutcomes = int(Forged) + 1
)

var outcomeNames = [NumOutcomes]string{
	"published", "completed", "rate_limited", "crowded", "queue_full", "unavailable", "ended", "malformed", "forged",
}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}
