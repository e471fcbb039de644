// Package prefilter is the cheap rules of a knock port as a program for the
// kernel, which refuses there what would be refused here: unauthenticated, and
// at a fraction of the price. It only ever refuses what verify.Shape or the
// key table would refuse as well, and all of it is checked again.
//
//	Rules            what a port takes: places, maximum, identifiers
//	 -> Accepts      the rules in Go
//	 -> Program      the rules as classic BPF, for one port
//	     head        length, magic, maximum and sequence ID, timestamp
//	     Identifiers a binary decision tree, the same for all ports
//
// A knock counts only at a port of its own minute, so the program of a port
// needs no clock: the minute's bounds are constants in it.
package prefilter
