// Package verify decides whether a datagram is an authentic knock, cheap
// checks first. It is the only place where a parsed wire.Knock becomes an
// authenticated Knock, so whatever asks for a Knock gets a checked one.
//
//	datagram, the places of its port, now
//	  -> wire.Parse        size, magic, maximum, sequence, identifier
//	  -> maximum = n-1
//	  -> sequence = the index of the port, timestamp in that port's minute
//	  -> timestamp within the tolerance of now
//	  -> identifier known  Table
//	  -> nonce             not below the sequence ID, nor below the client's Floor
//	  -> HMAC-SHA256       macState, constant-time comparison
//	  -> Knock
//
// A Table is shared by all and immutable but for the floors, which the owner of
// a client's window raises, so that old replays cost no HMAC. A Verifier holds the scratch memory
// of one worker and belongs to it. Nothing here allocates, locks, logs or
// blocks for a datagram, and nothing grows with traffic. Whether
// a nonce is new is not judged here but by that owner (package sessions).
package verify
