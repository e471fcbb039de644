package main

import (
	"crypto/rand"
	"encoding/hex"

	"sallyport/verify/wire"
)

// randomSecret returns 256 random bits as text.
func randomSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// identifierLetters leave out what is mistaken for something else when read.
const identifierLetters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// randomIdentifier returns an identifier that is hard to guess: an attacker
// who does not know one cannot even make the server compute an HMAC.
func randomIdentifier() (id wire.Identifier) {
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
