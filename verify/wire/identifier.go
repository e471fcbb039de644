package wire

import "fmt"

// The bounds of printable ASCII.
const (
	MinPrintable = 0x20
	MaxPrintable = 0x7E
)

// Identifier names the client whose secret signs a knock: 4 printable ASCII
// bytes (0x20 to 0x7E). It is public: it travels in clear.
type Identifier [4]byte

// ParseIdentifier reads an identifier as users write it. Its error does not
// repeat the text, which may be a secret that stands in the wrong place.
func ParseIdentifier(s string) (Identifier, error) {
	if len(s) != len(Identifier{}) {
		return Identifier{}, fmt.Errorf("an identifier is 4 printable ASCII characters; this is %d bytes long", len(s))
	}
	id := Identifier([]byte(s))
	if !id.Valid() {
		return Identifier{}, fmt.Errorf("an identifier is 4 printable ASCII characters; this holds others")
	}
	return id, nil
}

// Valid reports whether all four bytes are printable ASCII.
func (id Identifier) Valid() bool {
	for _, c := range id {
		if c < MinPrintable || c > MaxPrintable {
			return false
		}
	}
	return true
}

func (id Identifier) String() string { return string(id[:]) }
