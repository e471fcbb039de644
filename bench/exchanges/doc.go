// Package exchanges floods the shipped server with empty packets, and tells what
// becomes of honest exchanges of the challenge–response protocol meanwhile.
//
//	Run        a server's host and another, joined by a link; the server with
//	           operations; each Scenario in turn
//	  Scenario nothing; random packets to all ports, from everywhere; whole
//	           requests, from everywhere
//	  honest   clients with addresses of their own: one exchange each
//	Result     how many of those were granted, how long the challenge took, what
//	           the server counted, and its memory before and after
//
// The generator has a core, the server another. Linux only, but for Result.
package exchanges
