// Package secrets generates secrets and identifiers, and estimates how long a weak
// secret withstands guessing.
package secrets

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"

	"sallyport/verify/wire"
)

// Random returns 256 random bits in hex.
func Random() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// identifierLetters excludes characters that readers confuse, such as l and 1.
const identifierLetters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// RandomIdentifier returns an identifier that is hard to guess: without a valid
// identifier, an attacker cannot make the server compute an HMAC.
func RandomIdentifier() (id wire.Identifier) {
	// A byte from limit on would make the first letters more likely.
	const limit = 256 - 256%len(identifierLetters)
	for i := 0; i < len(id); {
		var b [1]byte
		rand.Read(b[:])
		if int(b[0]) < limit {
			id[i] = identifierLetters[int(b[0])%len(identifierLetters)]
			i++
		}
	}
	return id
}

// ParseIdentifier parses an identifier that a line of the clients file can contain.
func ParseIdentifier(s string) (wire.Identifier, error) {
	id, err := wire.ParseIdentifier(s)
	if err == nil && (strings.Contains(s, " ") || s[0] == '#') {
		err = errors.New("an identifier in the clients file has no spaces and does not begin with #")
	}
	return id, err
}
