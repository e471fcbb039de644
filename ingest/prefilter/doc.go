// Package prefilter has the table of knock rules, and converts it to the forms
// that the tiers need. A tier is where a datagram can be refused: the firewall,
// the kernel at a socket, this process. Each tier refuses only datagrams that
// verify.CheckFormat or the key table would refuse as well, and the process checks
// all rules again.
//
//	Table            what each port accepts: places, maximum, identifiers
//	 -> Accepts      the rules in Go
//	 -> Program      the rules of one port as classic BPF, for its sockets
//	     head        length, magic, maximum and sequence ID, timestamp
//	     Identifiers a binary decision tree, the same for all ports
//	 -> Ends         the ports, and when each expires: for a tier that knows only
//	                 ports
//	Wider            a table that accepts what either of two tables accepts
//
// A knock is valid only at a port of its minute, so the program of a port needs
// no clock: the bounds of the minute are constants in it.
//
// Package prefiltertest has the rows on which all tiers must agree.
package prefilter
