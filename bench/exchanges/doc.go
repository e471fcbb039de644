// Package exchanges floods the shipped server with empty packets, and measures how
// many honest exchanges of the challenge–response protocol succeed.
//
//	Run        a server's host and another, connected by a link; the server with
//	           operations; each Scenario in turn
//	  Scenario nothing; random packets to all ports, from random addresses;
//	           whole requests, from random addresses
//	  honest   clients with different addresses: one exchange each
//	Result     how many of them were granted, how long the challenge took, the
//	           server's counters, and its memory before and after
//
// The generator and the server use different cores. Linux only, except for
// Result.
package exchanges
