package wire

// MaxAhead is how far the nonce of a knock may be above the highest one that the server
// has seen. A server may refuse a nonce that is higher, without an HMAC.
const MaxAhead = 1 << 20

// Rule is a rule of the encoding. As an error it is the rule that a datagram
// breaks. The names are those of PROTOCOL.md and of the vectors.
type Rule uint8

// The rules, in the order in which Parse applies them.
const (
	RuleSize       Rule = iota + 1 // exactly 48 bytes
	RuleMagic                      // begins with "PK"
	RuleMaximum                    // the maximum sequence ID is not negative
	RuleSequence                   // the sequence ID is in 0…maximum
	RuleIdentifier                 // the identifier is printable ASCII
)

var ruleNames = [...]string{"", "size", "magic", "maximum", "sequence", "identifier"}

func (r Rule) String() string {
	if int(r) < len(ruleNames) {
		return ruleNames[r]
	}
	return "unknown"
}

func (r Rule) Error() string { return "not a knock: breaks rule " + r.String() }
