// Package secrets makes secrets and identifiers, and says how long weak ones last.
package secrets

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"

	"sallyport/verify/wire"
)

// Random returns 256 random bits as text.
func Random() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// identifierLetters leave out what is mistaken for something else when read.
const identifierLetters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// RandomIdentifier returns an identifier that is hard to guess: an attacker
// who does not know one cannot even make the server compute an HMAC.
func RandomIdentifier() (id wire.Identifier) {
	const fair = 256 - 256%len(identifierLetters) // beyond, the first letters would be likelier
	for i := 0; i < len(id); {
		var b [1]byte
		rand.Read(b[:])
		if int(b[0]) < fair {
			id[i] = identifierLetters[int(b[0])%len(identifierLetters)]
			i++
		}
	}
	return id
}

// ParseIdentifier reads an identifier that a line of the clients file can hold.
func ParseIdentifier(s string) (wire.Identifier, error) {
	id, err := wire.ParseIdentifier(s)
	if err == nil && (strings.Contains(s, " ") || s[0] == '#') {
		err = errors.New("an identifier in the clients file has no spaces and does not begin with #")
	}
	return id, err
}
