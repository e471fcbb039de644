package verify

import (
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Knock is an authenticated knock: a client that holds the secret of
// Identifier made it for its place in the schedule. Only a Verifier makes one.
// It may still be a replay, and its source address is not authenticated.
type Knock struct {
	identifier wire.Identifier
	sequence   int8
	maximum    int8
	closes     bool
	nonce      uint32
	timestamp  uint32
	minute     schedule.Minute
	portSecret schedule.SecretName
	table      uint32
	secret     Fingerprint
	isn        wire.ISN
}

// Closes reports whether the knock closes what its client has open, and opens nothing.
// The client had a lease when the knock was authenticated.
func (k Knock) Closes() bool { return k.closes }

// Identifier names the client.
func (k Knock) Identifier() wire.Identifier { return k.identifier }

// Sequence is the index of the knock in its sequence, 0 to Maximum.
func (k Knock) Sequence() int8 { return k.sequence }

// Maximum is the sequence ID of the last knock, n-1.
func (k Knock) Maximum() int8 { return k.maximum }

// Nonce is the knock's own nonce.
func (k Knock) Nonce() uint32 { return k.nonce }

// Base is the nonce of the first knock of the sequence. It does not wrap.
func (k Knock) Base() uint32 { return k.nonce - uint32(k.sequence) }

// Timestamp is the time of the client's clock at which the client made the
// knock, in Unix seconds.
func (k Knock) Timestamp() uint32 { return k.timestamp }

// Minute is the minute of the port for which the knock was made.
func (k Knock) Minute() schedule.Minute { return k.minute }

// PortSecret names the port secret from which the port was drawn at which the knock
// arrived; zero: several port secrets have this port at this place.
func (k Knock) PortSecret() schedule.SecretName { return k.portSecret }

// Table is the number of the key table that authenticated the knock.
func (k Knock) Table() uint32 { return k.table }

// Secret identifies the secret of the client that authenticated the knock.
func (k Knock) Secret() Fingerprint { return k.secret }

// ISN is the initial sequence number that the knock's attempt binds a connection to.
// All knocks of an attempt have the same. Zero, unless Rules.ISN is set, and of a knock
// that closes.
func (k Knock) ISN() wire.ISN { return k.isn }
