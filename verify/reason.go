package verify

import "sallyport/verify/wire"

// Reason says why a datagram was refused, or that it was not. Each is one
// counter.
type Reason uint8

// The reasons, in the order of the checks.
const (
	Authentic  Reason = iota // not refused
	Size                     // not 48 bytes
	Magic                    // does not begin with "PK"
	Malformed                // sequence or maximum negative, sequence beyond maximum, identifier not printable
	Maximum                  // the maximum is not n-1
	Sequence                 // not the sequence ID of the port that it came to
	Minute                   // timestamp outside the minute of the port that it came to
	Clock                    // timestamp further from now than the tolerance
	Identifier               // no such client
	Nonce                    // the nonce is smaller than the sequence ID: no sequence begins below 0
	Below                    // the nonce lies below the client's window: used, or too old
	MAC                      // the HMAC is wrong

	// Reasons is how many there are, Authentic included.
	Reasons = int(MAC) + 1
)

var reasonNames = [Reasons]string{
	"authentic", "size", "magic", "malformed", "maximum", "sequence",
	"minute", "clock", "identifier", "nonce", "below", "mac",
}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

func reasonOf(rule error) Reason {
	switch rule {
	case wire.RuleSize:
		return Size
	case wire.RuleMagic:
		return Magic
	}
	return Malformed
}
