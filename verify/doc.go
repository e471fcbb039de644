// Package verify decides whether a datagram is an authentic knock. It makes the
// cheap checks first. It is the only place where a parsed wire.Knock becomes an
// authenticated Knock, so a function that requires a Knock gets a checked one.
//
//	datagram, the places of its port, now
//	  -> wire.Parse        size, magic, maximum, sequence, identifier
//	  -> maximum = n-1
//	  -> sequence = the index of the port, timestamp in that port's minute
//	  -> timestamp within the tolerance of now
//	  -> identifier known  KeyTable
//	  -> client not expired
//	  -> nonce             not below the sequence ID, nor below the Floor of each secret
//	  -> HMAC-SHA256       macState, constant-time comparison; if it fails, and the
//	                       client has a lease, once more with the label of closing
//	  -> Knock
//
// Explain (explain.go) is for a datagram that was refused while an administrator traces its
// identifier: it checks the signature also if a cheaper rule is broken, so that it can
// separate what the client has sent from what any host can forge.
//
// A connection proves itself by the handshake of package preamble, instead of a knock
// (connection.go):
//
//	preamble, now   -> preamble.Parse, timestamp, HMAC, nonce -> Claim
//	proof           -> HMAC                                   -> Connection
//
// A gateway of a fleet verifies attempts that another one has accepted (attempt.go, tag.go):
//
//	base, timestamp -> AppendAttempt -> n datagrams, and Tag   at the gateway that grants
//	n datagrams     -> HMACs, one base and timestamp -> Attempt, and Tagged   at the others
//
// With a key for each gateway (gateway.go), the former has KeysOfGateway in its table, and
// the others have the secrets: AttemptAt, TaggedAt.
//
// All workers share one KeyTable. It is immutable except for the floors and the marks
// of clients that have a lease. The owner of a secret's window (package sessions) raises
// its floor, so that old replays cost no HMAC; the owner of the leases sets the mark
// (SetLeased). A Verifier holds the scratch memory of one worker and belongs to it. For
// a datagram, nothing here allocates, locks, logs or blocks, and nothing grows with
// traffic. This package does not decide whether a nonce is new: the owner of the window
// does.
package verify
