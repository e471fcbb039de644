package verify

import (
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Knock is an authenticated knock: a client that holds the secret of
// Identifier made it for its place in the schedule. Only a Verifier fills one
// in. It may still be a replay, and where it came from is not authenticated.
type Knock struct {
	identifier wire.Identifier
	sequence   int8
	maximum    int8
	nonce      uint32
	timestamp  uint32
	minute     schedule.Minute
	table      uint32
}

// Identifier names the client.
func (k Knock) Identifier() wire.Identifier { return k.identifier }

// Sequence is the place of the knock in its sequence, 0 to Maximum.
func (k Knock) Sequence() int8 { return k.sequence }

// Maximum is the sequence ID of the last knock, n-1.
func (k Knock) Maximum() int8 { return k.maximum }

// Nonce is the knock's own nonce.
func (k Knock) Nonce() uint32 { return k.nonce }

// Base is the nonce of the first knock of the sequence. It does not wrap.
func (k Knock) Base() uint32 { return k.nonce - uint32(k.sequence) }

// Timestamp is when the client made it, by its own clock, in Unix seconds.
func (k Knock) Timestamp() uint32 { return k.timestamp }

// Minute is the minute for whose port the knock was made.
func (k Knock) Minute() schedule.Minute { return k.minute }

// Table is the number of the key table that has authenticated it.
func (k Knock) Table() uint32 { return k.table }
