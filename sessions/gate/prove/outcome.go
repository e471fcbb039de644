package prove

// Outcome is the end of a connection's handshake. Each is one counter.
type Outcome uint8

// The outcomes.
const (
	Passed      Outcome = iota // proved, and passed to the service
	NotAdmitted                // no lease lets the address try
	Timeout                    // the handshake took too long
	Closed                     // the other side ended the connection, or the answer could not be sent
	Displaced                  // gave way to another connection, as too many had no proof
	Malformed                  // the first 48 bytes are no preamble
	Clock                      // the preamble's timestamp is further from now than the tolerance
	MAC                        // no such client, or the MAC is wrong: for another service, or of no client
	Expired                    // the client has expired, or since its preamble its secret
	Used                       // the nonce is used, or the timestamp is before the start
	NoLease                    // the client has no lease in force that admits the address
	Proof                      // the proof is wrong: not by the client that made the preamble
	Full                       // too many connections of the address, or of all; or the sessions' queues are full
	Unrecorded                 // the use of the nonce could not be recorded
	Revoked                    // the client lost its right, or the service closed, before the record was made

	// NumOutcomes is the number of outcomes.
	NumOutcomes = int(Revoked) + 1
)

var outcomeNames = [NumOutcomes]string{
	"passed", "not_admitted", "timeout", "closed", "displaced", "malformed", "clock", "mac", "expired", "used", "no_lease",
	"proof", "full", "unrecorded", "revoked",
}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}
