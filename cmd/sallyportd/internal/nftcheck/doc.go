// Package nftcheck follows packets through the nftables rules of other
// programs. It says which rules drop what the server has to receive, and which
// lead packets elsewhere, so that strangers get around the guard, or clients
// never reach a service.
//
//	dump       asks the kernel, and again if the rules change meanwhile
//	ruleset    chains and rules; sets are read when a rule asks for them
//	evaluate   one rule, expression by expression, for packets of which a part
//	           is known: whether it applies always, to some ports, maybe, never
//	walk       chains, jumps included: what becomes of the packets
//	check      what is dropped, and what cannot be read
//	around     what is led elsewhere
//
// The rules are somebody else's: nothing in them may stop the reading. What
// cannot be read may do anything: it is named, and everything else is judged.
package nftcheck
