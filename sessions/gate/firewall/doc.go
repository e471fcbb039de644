// Package firewall hides ports of this host behind a table of nftables: a
// packet to a guarded port goes on only if its source address has been
// granted. The table only ever restricts. What it does not guard passes it
// untouched, and what it lets pass is still judged by the host's other tables.
//
//	prerouting  (before connections are tracked) what looks like a knock is not
//	            tracked: a flood of it, from whatever addresses, takes no room;
//	            nor are packets that are only captured, nor (output) answers
//	guard       (tracked, before translation) ports as clients ask for them
//	input       to this host's sockets       forward  to what DNAT publishes
//	  knocks, at input               accept; with Stealth knocks that are heard
//	  the loopback                   accept
//	  answers to a SYN from here     accept (label 102, put in postrouting)
//	  to a guarded port, TCP or Cut  -> its chain
//	  replies, UDP                   accept, but for those of label 103
//	  to a guarded port, UDP         -> its chain
//	  other UDP, with Stealth        -> stealth: drop, but for replies and Except
//	a port's chain
//	  established, and label 101     accept, without Cut
//	  granted, by a set each         label 101, accept
//	  (IPv4 and IPv6 addresses, networks of 64 bits, anyone of each family)
//	  whatever else                  drop, or answer as a closed port does
//
// Grants are elements of sets, and the kernel ends them by their timeouts: they
// end when every process of ours is dead. The table stays, closed. A stranger's
// packet changes nothing: it makes no element and no connection, whose tracking
// begins only with a packet that got through to the end.
//
//	Inspect  what stands there, whose it is, and whether it is as it was made
//	Claim    the table made anew, closed, in one transaction, without an instant
//	         in which a port of both the old and the new table is open; another
//	         owner's is refused
//	Keep     the table made anew whatever another program does to it
//	Apply    many changes in one transaction, as an access.Enforcer; it is split
//	         only if it fails, so that one that fails keeps no other from opening
//	Close    nobody is let in, and no port takes knocks; the table is there, or
//	         it is an error
//	Clear    the table is gone, and the ports are open
//
// # Whose it is
//
// The chain "owner", where no packet comes, has the table's owner in the
// comments of its rules: the configuration, a generation, when it was made, and
// a digest of its content. nft prints them, and a copy that is saved and loaded
// keeps them. Keep tells a copy from a table that another process has just
// claimed by the time: a copy was made before.
//
// The table consists of expressions that nft 1.0.6 writes itself, byte by byte:
// what it lists it loads as the same table. So each port has sets of its own,
// no rule compares anything but fields that have a name, and that a socket
// takes a packet is asked twice.
//
// Claim takes down how the kernel describes the content, when nobody else can
// have changed it, and each time that the table is made, all handles: a copy has
// others. Keep hears of each transaction (nfnetlink), passes over those that are
// ours, and compares. What it repairs it repairs in one transaction, with the
// first MaxChanges of what was open. Elements are compared too, each with the
// time that it may have left.
//
// # What a grant has let in
//
// The label 101 is on a connection of which a packet was granted. Conntrack
// keeps it for as long as the connection, and other programs' labels beside it;
// a mark is one number that policy routing compares as a whole. Without a label
// an established connection is a stranger's: it was made while the table was not
// there, or is tracked anew from its middle. So a gap needs no memory of ours,
// not even over a restart. Strangers' connections of TCP are forgotten besides.
// Flows of UDP are not: their entry is what shows that the stranger began.
//
// What the host begins from a guarded port cannot be told by the direction of
// the connection, which is that of the first packet that is tracked. A SYN from
// the port shows it (label 102). Its answers have an ACK or a RST; a bare SYN by
// the same tuple is judged as any other.
//
// Keep and the methods of Table may run concurrently; one transaction or
// comparison runs at a time. What the host sends to itself over the loopback is
// left alone. All of it works in network namespaces, with CAP_NET_ADMIN there.
package firewall
