// Package exchange is the challenge–response protocol's three messages
// (deGraaf, Aycock, Jacobson 2005, sections 6.1, 6.2, 7.1 and 7.2), without
// I/O. PROTOCOL.md beside this file is the specification,
// testdata/vectors.json its test vectors.
//
//	Operation   what can be asked for: an ID, an algorithm, keys
//	  client                              server
//	  NewClient -> Request        ---->   ParseRequest
//	  Answer    <- challenge      <----     -> Challenge -> Pending
//	            -> response       ---->   Pending.Verify -> Grant
//
// Types carry trust: a Request is parsed, and proves nothing; a Grant is what
// somebody has proved, and only Verify makes one. Randomness is handed in. All
// values are immutable, and safe for concurrent use.
package exchange
