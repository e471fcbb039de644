package wire

import (
	"errors"
	"fmt"
)

// The bounds of printable ASCII.
const (
	MinPrintable = 0x20
	MaxPrintable = 0x7E
)

// Identifier names the client whose secret signs a knock: 4 printable ASCII
// bytes (0x20 to 0x7E). It is public: knocks carry it in clear text.
type Identifier [4]byte

// ParseIdentifier parses an identifier as users write it. Its error does not
// contain the text, because a user may have put a secret in its place.
func ParseIdentifier(s string) (Identifier, error) {
	if len(s) != len(Identifier{}) {
		return Identifier{}, fmt.Errorf("expected an identifier of 4 printable ASCII characters, got %d bytes", len(s))
	}
	id := Identifier([]byte(s))
	if !id.Valid() {
		return Identifier{}, errors.New("expected an identifier of 4 printable ASCII characters, got other characters")
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
