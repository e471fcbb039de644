// Package prefilter is the one table of knock rules, and the forms that the
// tiers need it in. A tier is a place where datagrams can be refused: the
// firewall, the kernel at a socket, this process. Each tier refuses only what
// verify.CheckFormat or the key table would refuse as well, and the process checks
// all rules again.
//
//	Table            what each port takes: places, maximum, identifiers
//	 -> Accepts      the rules in Go
//	 -> Program      the rules of one port as classic BPF, for its sockets
//	     head        length, magic, maximum and sequence ID, timestamp
//	     Identifiers a binary decision tree, the same for all ports
//	 -> Ends         the ports, and the end of the time for which each is drawn:
//	                 for a tier that knows ports only
//	Wider            a table that accepts what either of two tables accepts
//
// A knock counts only at a port of its own minute, so the program of a port
// needs no clock: the bounds of the minute are constants in it.
//
// The package prefiltertest has the rows that every tier must agree on.
package prefilter
