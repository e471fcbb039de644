// Package prove makes connections prove that they are a client's, before a service gets
// a byte of them: the server's side of package preamble.
//
//	Serve      a goroutine a listener: accepts, and asks Target whether a lease lets the
//	           address try; reads the preamble, if it has come
//	table      connections without a proof, a fixed number; the oldest gives way, unless
//	           its next message has come and makes it younger than those without one
//	run        one goroutine a Prover, while there are any: it reads later messages, by
//	           epoll, without a buffer a connection, and sends the answers
//	  preamble   -> verify.Connections: authentic? -> Leases: has its client a lease?
//	             -> Nonces.Check: unused? -> the answer
//	  proof      -> verify.Connections -> Target.Own: the connection is the client's from
//	             now on, and a revocation ends it -> Leases, again -> Nonces.Use
//	Nonces     reports that the nonce's use is on disk -> Target.Pass: to the service
//
// A connection that breaks a rule, or has no proof in time, is reset without a byte. For
// a connection without an authentic preamble nothing here allocates in this process, but
// the zone of a link-local address, and nothing grows. Bytes after the proof are not read: they are the
// service's.
//
// The lock of a Prover is never held while a Target, Leases or Nonces is called: those
// lock the enforcer, the service and the sessions.
package prove
