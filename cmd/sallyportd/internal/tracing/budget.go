package tracing

import (
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions"
	"sallyport/sessions/handshakes"
	"sallyport/sessions/handshakes/carried"
	"sallyport/verify"
)

const (
	// burst is how many lines of a kind may come at once, and pause how long it takes
	// until one more may.
	burst, pause = 3, time.Second
	// forgedBurst and forgedPause are the same for all kinds together that any host can
	// cause.
	forgedBurst, forgedPause = 6, time.Second / 2
	// rarePause is how often each of these kinds may have a line nevertheless, so that a flood
	// of one kind does not hide the others.
	rarePause = 10 * time.Second
)

// budget bounds the lines of one kind. In any time, there are at most burst lines and one
// for each pause.
type budget struct {
	used    time.Time // the lines are paid for up to this time
	rare    time.Time // when the next line may come although those of other kinds are too many
	all     uint64
	leftOut uint64 // since the last line
	missing uint64 // all that were left out
}

// take counts an event, and reports whether it may have a line; leftOut is then how many
// before it had none.
func (b *budget) take(now time.Time, burst int, pause time.Duration) bool {
	if first := now.Add(-time.Duration(burst) * pause); b.used.Before(first) {
		b.used = first
	}
	if b.used.Add(pause).After(now) {
		return false
	}
	b.used = b.used.Add(pause)
	return true
}

// takeRare takes the line that a kind may have although there are too many of other kinds.
func (b *budget) takeRare(now time.Time) bool {
	if now.Before(b.rare) {
		return false
	}
	b.rare = now.Add(rarePause)
	return true
}

// kind is what happened, with its reason, and whether it is authenticated.
type kind uint8

// The kinds. Each but incomplete is the first of several.
const (
	forged      kind = 0                                        // + verify.Reason: a datagram that no secret has signed
	signed           = forged + kind(verify.NumReasons)         // + verify.Reason
	decided          = signed + kind(verify.NumReasons)         // + sessions.Outcome: a knock
	granted          = decided + kind(sessions.NumOutcomes)     // + sessions.Outcome: an attempt
	incomplete       = granted + kind(sessions.NumOutcomes)     // an attempt
	unchecked        = incomplete + 1                           // a refused datagram whose signature was not checked
	exchanged        = unchecked + 1                            // + handshakes.Outcome: any host can cause it
	overCarrier      = exchanged + kind(handshakes.NumOutcomes) // + carried.Event: any host can cause it
	proved           = overCarrier + kind(carried.NumEvents)    // + Proof
	numKinds         = proved + kind(numProofs)
)

// Proof is what becomes of an exchange that is authenticated.
type Proof uint8

// The proofs.
const (
	Verified   Proof = iota // the response is right
	Executed                // the operation was executed
	Refused                 // it was not, with an error
	Limited                 // its client has had too many
	Superseded              // a newer one of the client replaced it
	Lost                    // too many of the operation waited
	Tunnelled               // a tunnel was let in
	numProofs  = iota
)

var proofNames = [numProofs]string{"verified", "executed", "failed", "rate_limited", "superseded", "lost", "tunnel"}

// carriedNames are the reasons of exchanges over HTTP and DNS.
var carriedNames = func() (names [carried.NumEvents]string) {
	for i := range names {
		names[i] = "carried_" + carried.Event(i).String()
	}
	return names
}()

// authenticated reports whether only the holder of a secret can cause the kind.
func (k kind) authenticated() bool { return k >= signed && k < unchecked || k >= proved }

// names returns the event and the reason of a kind.
func (k kind) names() (event, reason string) {
	switch {
	case k < signed:
		return admin.TraceRefused, verify.Reason(k - forged).String()
	case k < decided:
		return admin.TraceRefused, verify.Reason(k - signed).String()
	case k < granted:
		return admin.TraceKnock, sessions.Outcome(k - decided).String()
	case k < incomplete:
		return admin.TraceAttempt, sessions.Outcome(k - granted).String()
	case k == incomplete:
		return admin.TraceIncomplete, "incomplete"
	case k == unchecked:
		return admin.TraceRefused, "unchecked"
	case k < overCarrier:
		return admin.TraceExchange, handshakes.Outcome(k - exchanged).String()
	case k < proved:
		return admin.TraceExchange, carriedNames[k-overCarrier]
	}
	return admin.TraceExchange, proofNames[k-proved]
}
