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
//	  -> HMAC-SHA256       macState, constant-time comparison
//	  -> Knock
//
// A Table is immutable and shared by all. A Verifier holds the scratch memory
// of one worker and belongs to it. Nothing here allocates, locks, logs or
// blocks for a datagram, and nothing grows with traffic. Replay is not judged
// here but by the owner of the client's window (package sessions).
package verify
