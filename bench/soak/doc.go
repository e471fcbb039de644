// Package soak runs the shipped server for a time while everything goes wrong
// together, and judges what a client and a stranger could observe.
//
//	Run       two hosts, joined by a cable; on the first one the server, its state
//	          on a small disk, and a program behind the firewall
//	  honest  clients of both protocols: each attempt from another address
//	  hostile a flood, sequences without their last knock, replays of captured
//	          sequences and exchanges
//	  act     a random schedule: rotations, reloads, revocations, restarts,
//	          SIGKILLs of the server and of its helpers, a flushed ruleset, a full disk
//	  look    TCP connects of a stranger and of revoked clients, each 50 ms, and of
//	          clients whose leases have ended
//	Judge     compares grants and connects with the packets that were sent, and
//	          reports those that should not have been
//	Result    the counts, and the violations
//
// The last part of a run has no restarts, so that the last server has done as much as
// possible when its goroutines, descriptors, processes, set elements and leases are
// compared with those of a server that has done almost nothing. Linux only, except for
// Judge and Result.
package soak
