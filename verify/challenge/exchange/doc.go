// Package exchange is the challenge–response protocol's three messages
// (deGraaf, Aycock, Jacobson 2005, sections 6.1, 6.2, 7.1, 7.2 and 7.4), without
// I/O. PROTOCOL.md beside this file is the specification,
// testdata/vectors.json its test vectors. signed.go has the operations with public keys
// instead of a secret.
//
//	Operation   what a client can request: an ID, an algorithm, keys
//	  client                                 server
//	  NewInitiator -> Request        ---->   ParseRequest
//	  Answer       <- challenge      <----     -> Challenge -> Pending
//	               -> response       ---->   Pending.Verify -> Proof
//
// A Responder is the server's side with the packets of request and response: it
// decodes their ports, and goes through the states Free, Requesting, Requested,
// Challenged and Verified. It belongs to one goroutine. shared.go has the rules for
// packets to ports that requests and responses share. hop.go moves the ports each
// minute: Minutes has the kinds of requests that are accepted now.
//
// Types carry trust: a Request is parsed, and proves nothing; only Verify makes
// a Proof. The caller passes the nonces. All values but the Responder are
// immutable, and safe for concurrent use.
package exchange
