// Package firewall hides ports of this host behind an nftables table: a packet
// to a guarded port passes only if a grant exists for its source address. The
// table only restricts. It does not touch packets to other ports, and the other
// tables of the host still filter the packets that it accepts.
//
//	prerouting  (before connection tracking) packets that look like knocks are
//	            not tracked: a flood of them, from any addresses, needs no
//	            memory; nor are captured packets, nor (output) answers to them
//	guard       (tracked, before translation) ports as clients address them
//	drawn       (translation, also drawn_local at output) an admitted peer's drawn
//	            port -> the real port, or a program's port -> the listener before it,
//	            with labels 101 and 105
//	output      a program's port behind a listener: only root and the server connect
//	input       to this host's sockets       forward  to targets of DNAT
//	  knocks, at input               accept; with Stealth only if a socket exists
//	  the loopback                   accept
//	  answers to a SYN from here     accept (label 102, set in postrouting)
//	  to a guarded port, TCP or Cut  -> its chain
//	  replies, UDP                   accept, except with label 103
//	  to a guarded port, UDP         -> its chain
//	  other UDP, with Stealth        -> stealth: drop, except replies and Except
//	late        (input, after other programs' filters) drawn ports on which the
//	            server listens: peers pass, strangers get what an unused port answers
//	a port's chain
//	  established, and label 101     accept, without Cut
//	  granted, by a set each         label 101, accept; with Jump first, once for a
//	                                 connection (label 106), the operator's chain
//	  (IPv4 addresses, or their first bits with PrefixLen4; IPv6 addresses,
//	  networks of 64 bits; anyone of each family;
//	  or, with RequireISN, a bare SYN with an address and a sequence number)
//	  from a trusted peer            label 104, accept: in a separate chain
//	  all other packets              drop, or answer as a closed port does
//
// A service may have several ports, and ranges of ports. They share one chain and
// its sets, and a rule for each range leads there: a grant for 1,001 ports is one
// element, of the same set and at the same cost as a grant for one port. A set for
// all services, with the service as a part of its key, would not be smaller, and nft
// 1.0.6 cannot print the rules that look into it.
//
// With RequireISN, a service has sets of an address and the initial sequence number
// of a connection, and no others: nothing but a number of a grant, or a trusted peer,
// lets its SYN in. The kernel compares the SYN before TCP sees it, so SYN cookies make
// no difference, and the table sees the number as the client's last router sent it. All
// later packets require label 101. Conntrack does not know the number, so after a gap
// each connection without the label ends, also if its address has a grant. nft 1.0.6
// prints the type of such a set by its expressions (typeof), from user data that
// isn_linux.go writes; as JSON it prints a type that it cannot read.
//
// A port that rotates (drawn.go) has sets of address and drawn port. Of a service of
// another program, the real port's chain accepts no grant, only connections with label
// 105: those that the chain drawn has redirected. Other programs' translation to the
// real port does not set it. After translation a packet no longer has its drawn port
// (nft 1.0.6 cannot compare an address together with the port of conntrack), so the
// guard chain compares it with the grants: with Cut each packet, otherwise a SYN, whose
// ports an earlier connection may have had. The packet keeps the address that the
// client addressed. Only a socket of this host gets it: conntrack translates a
// connection once, so a port that DNAT publishes cannot be a real port. When no port
// rotates, the kernel translates nothing, and earlier redirected connections end.
//
// A port with a listener (listener.go) is that of another program, and the server stands
// before it. The guard chain compares packets to the port with the grants, and the chain
// drawn redirects connections that it lets pass. At input, after translation, the
// listener's port accepts only connections with label 105, and the program's port
// accepts none. So no packet of another host reaches the program, whatever is granted,
// and whether the server runs or not. At output, a SYN of this host to the program's port
// passes if its socket belongs to one of Config.Users, since a program that connects
// there can write a PROXY header. No program of this host connects to the listener. The
// chain input rejects connections of this host that another table has translated to
// either port.
//
// Grants are elements of sets. The kernel removes them when their timeouts end,
// even if all our processes are dead. The table stays, closed. A stranger's
// packet changes no state: it adds no element, and no connection, because
// conntrack keeps a connection only after a packet of it passed all hooks.
//
//	Inspect  returns what table exists, its owner, and whether it is unchanged
//	Claim    makes the table, closed, in one transaction; there is no instant in
//	         which a port of both the old and the new table is open; it refuses
//	         to replace the table of another owner
//	Keep     makes the table again when another program changes or removes it
//	SetTrusted  replaces the trusted peers of all services; grants stay
//	SetSilence  changes how strangers are answered (stealth); grants stay
//	Apply    carries out many changes in one transaction, as an access.Enforcer;
//	         it splits the transaction only if that fails, so that one failed
//	         change does not prevent another
//	SetTrial  ends trials: their services are closed for good
//	Close    removes all grants and closes all knock ports; the table stays, or
//	         Close returns an error
//	Clear    removes the table: the ports are open
//
// # The owner
//
// The chain "owner", which no packet reaches, has the table's owner in the
// comments of its rules: the configuration, a generation, the time at which the
// table was made, and a digest of its content. nft prints them, and a copy that
// is saved and loaded keeps them. Keep distinguishes a copy from a table that
// another process has just claimed by the time: a copy is older.
//
// The table consists of expressions that nft 1.0.6 writes itself, byte by byte:
// nft loads its own listing as the same table (as JSON, not with RequireISN or drawn
// ports). So each port has separate sets, each rule compares only fields that nft can
// print, and two rules check whether a socket exists for a packet.
//
// Claim records the kernel's description of the content at a moment at which no
// other program can have changed it, and all handles each time that the table is
// made: a copy has other handles. Keep receives an event for each transaction
// (nfnetlink), ignores our own transactions, and compares. It repairs the table
// in one transaction, with the first MaxChanges of the open elements. Keep also
// compares elements, each with the time that it may have left.
//
// # Trusted peers
//
// A rule for each network and each interface accepts the packets of the peers that a
// service trusts. There is no memory in them: as soon as SetTrusted has removed a
// rule, no packet of that peer passes, not even one of a running connection, unless
// a grant or label 101 lets it in. Label 104 lets nothing in. It shows Claim and
// Keep, which end strangers' connections, that a connection arrived on an interface
// that the service trusts: conntrack knows addresses, and no interfaces.
//
// SetTrusted changes the rules in one transaction, compares the kernel's generation
// before and after it as Claim does, and writes the new digest in a second one. If
// the process dies in between, the table counts as changed, and is closed all the
// same.
//
// # The operator's chains
//
// A chain to which a service jumps (Port.Jump) is in this table, because nftables
// jumps only within one. The package makes the chain and never flushes it. In a table
// that jumps, each chain without a hook whose name is not reserved (see jump.go), and
// each such set, map, counter and so on, is the operator's: it is no part of the
// digest, and stays when the table is replaced or repaired. A base chain never is.
//
//	a grant matches  -> NAME_granted
//	  label 106, confirmed, no SYN   accept: the chain ran before
//	  label 106, not confirmed, asked for this port   accept: it ran in the hook before
//	  not confirmed                  label 106 (and 101)
//	  jump to the operator's chain   it may drop; accept there is as no verdict
//	  label 106 (and 101), accept
//
// Only packets that a grant lets in reach the chain, so no rule in it can open anything
// to a stranger, nor another service. If the kernel refuses the jump, NAME_granted
// refuses all packets instead (join_linux.go). Rules that use our own sets or chains
// cannot stay if these must go: they are removed then.
//
// # Services on trial
//
// A service that is newly hidden may be on trial (Config.Trial): the one exception to
// "a port is closed unless a grant exists". An element for each family shuts its port,
// with a timeout. When the kernel removes the elements, anyone reaches the port, as
// before the table existed, whether a process of ours lives or not. Without a trial, the
// table has none of this, byte for byte.
//
//	the chain of a port on trial
//	  established, and label 101     accept, without Cut
//	  established, without label 107 accept: connections from before the trial continue
//	  a SYN (UDP: new), and granted  label 107: this connection began by a grant
//	  granted, or trusted            as without a trial
//	  no element of NAME_trial for the family   accept: the trial is over
//	  all other packets              drop, or answer as a closed port does
//
// Each transaction that makes the table has these elements with the time that is left:
// a repair, SetTrial, SetSilence, and a Claim by the next process. Close leaves them.
// Stealth can be on trial in the same way (the set udp_stealth_trial). SetTrial without
// the service makes the table that it would have been without a trial, in one
// transaction, and ends connections that no grant let in. Entered reports which services
// have a connection with label 107 that did not exist at Claim.
//
// # Connections that a grant let in
//
// Label 101 is on a connection of which a packet matched a grant. Conntrack keeps
// it for as long as the connection, and keeps other programs' labels next to it;
// a mark is one number that policy routing compares as a whole. An established
// connection without the label is a stranger's: it began while the table was
// missing, or conntrack has tracked it again from its middle. So a gap requires
// no memory in our process, not even across a restart. Claim and Keep also delete
// the conntrack entries of strangers' TCP connections. They keep those of UDP
// flows: only the entry shows that the stranger began the flow.
//
// The direction of a connection does not show whether this host began it: the
// direction is that of the first packet that conntrack has tracked. A SYN from
// the guarded port shows it (label 102). Its answers have an ACK or a RST; a bare
// SYN of the same tuple is filtered as any other.
//
// # Concurrency
//
// Keep and the methods of Table may run concurrently; one transaction or
// comparison runs at a time. The table accepts all packets that the host sends to
// itself over the loopback, but for connections to a port with a listener. The package works in network namespaces, and requires
// CAP_NET_ADMIN there.
package firewall
