package selftest

import (
	"crypto/rand"

	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// prefix begins the identifiers of servers that test themselves. No line of a clients file
// has such an identifier: it is a comment.
const prefix = '#'

// Reserved reports whether an identifier is that of a server that tests itself.
func Reserved(id wire.Identifier) bool { return id[0] == prefix }

// recorded is the identifier of all tests in the record, so that starts do not fill it.
var recorded = wire.Identifier{prefix, 'o', 'w', 'n'}

// recordedSecret stands for the secrets of all tests in the record.
const recordedSecret verify.Fingerprint = 1

// newKey returns a key for one start of the server.
func newKey() verify.Key {
	k := verify.Key{Identifier: secrets.RandomIdentifier(), Secret: make([]byte, 32)}
	k.Identifier[0] = prefix
	rand.Read(k.Secret) // never fails
	return k
}

// Forgive removes the doubts about earlier nonces of the test's client: it has a new secret
// at each start.
func Forgive(clients []sessions.Client) {
	for i := range clients {
		if Reserved(clients[i].Identifier) {
			clients[i].Current.LostUntil = 0
		}
	}
}
