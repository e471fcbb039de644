package preamble

import "fmt"

// Rule is a rule of the encoding. As an error it is the rule that a message breaks. The
// names are those of PROTOCOL.md and of the vectors.
type Rule uint8

// The rules, in the order in which Parse applies them.
const (
	RuleSize       Rule = iota + 1 // exactly 48 bytes
	RuleMagic                      // begins with "PK"
	RuleKind                       // sequence ID and maximum are -1
	RuleIdentifier                 // the identifier is printable ASCII
)

var ruleNames = [...]string{"", "size", "magic", "kind", "identifier"}

func (r Rule) String() string {
	if int(r) < len(ruleNames) {
		return ruleNames[r]
	}
	return "unknown"
}

func (r Rule) Error() string { return "not a preamble: breaks rule " + r.String() }

// CheckService returns an error if a service cannot have this name in a handshake.
func CheckService(name string) error {
	if len(name) == 0 || len(name) > MaxService {
		return fmt.Errorf("expected a service name of 1 to %d bytes, got %d bytes", MaxService, len(name))
	}
	return nil
}
