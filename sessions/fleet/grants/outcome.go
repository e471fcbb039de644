package grants

// Outcome is what became of a grant that this gateway has sent to the others, or got from
// one. Each is one counter.
type Outcome uint8

// The outcomes.
const (
	Sent       Outcome = iota // etcd has it
	Mixed                     // not sent: its datagrams have several timestamps
	Unsent                    // not sent in time: etcd did not answer, or the secret has ended
	Opened                    // opened services here
	Closed                    // closed what its client had here
	Revoked                   // its key was deleted before its end: closed here
	Malformed                 // the key or the value is in no known format
	Forged                    // its datagrams or its tag are not authentic here, or there is no such client
	Misplaced                 // the key is for another client, family or kind than the value
	Future                    // its timestamp is too far ahead of this clock
	Ended                     // its time was over when it came
	Superseded                // an attempt that is as new has opened or closed something
	NoService                 // the client may open no shared service here
	Unrecorded                // its nonces are not in the record of the fleet
	Failed                    // the services failed to open

	// NumOutcomes is the number of outcomes.
	NumOutcomes = int(Failed) + 1
)

var outcomeNames = [NumOutcomes]string{
	"sent", "mixed", "unsent", "opened", "closed", "revoked", "malformed", "forged", "misplaced",
	"future", "ended", "superseded", "no_service", "unrecorded", "failed",
}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}
