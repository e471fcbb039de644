// Package nftcheck follows packets through the rules of nftables and iptables
// that other programs wrote. It warns of rules that drop packets which the server
// must receive, and of rules that redirect packets, so that strangers bypass the
// guard, or clients never reach a service.
//
//	dump       reads the rules from the kernel, and again if they change meanwhile
//	ruleset    chains and rules; a set is read when a rule uses it
//	legacy     the same, of iptables-legacy
//	evaluate   one rule, expression by expression, for packets of which a part
//	           is known: whether it applies always, to some ports, maybe, never
//	walk       chains, jumps included: the verdict on the packets
//	subject    what the host must receive, and whether a chain drops it
//	owner      how to accept it, with the tool that wrote the chain
//	check      collects the warnings, also of parts that cannot be read
//	jump       whether a chain of the operator in our table drops all that it gets
//	around     warns of rules that redirect
//
// Other programs write the rules, so no rule may stop the reading. A part that
// cannot be read may do anything: a warning names it, and all other parts are
// judged.
package nftcheck
