package verify

import "sallyport/verify/wire"

// Reason is why a datagram was refused, or Authentic. Each reason is one
// counter.
type Reason uint8

// The reasons, in the order of the checks.
const (
	Authentic      Reason = iota // not refused
	Size                         // not 48 bytes
	Magic                        // does not begin with "PK"
	Malformed                    // sequence or maximum negative, sequence above maximum, identifier not printable
	Maximum                      // the maximum is not n-1
	Sequence                     // not the sequence ID of the destination port
	Minute                       // timestamp outside the minute of the destination port
	ClockSkew                    // timestamp further from now than the tolerance
	Identifier                   // no such client
	Expired                      // the client has expired
	NonceUnderflow               // the nonce is smaller than the sequence ID: no sequence begins below 0
	BelowWindow                  // the nonce is below the window of each secret of the client: used, or too old
	MAC                          // the HMAC is wrong

	// NumReasons is the number of reasons, Authentic included.
	NumReasons = int(MAC) + 1
)

var reasonNames = [NumReasons]string{
	"authentic", "size", "magic", "malformed", "maximum", "sequence",
	"minute", "clock", "identifier", "expired", "nonce", "below", "mac",
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
