// Package firewall hides ports of this host behind a table of nftables: a
// packet to a guarded port goes on only if its source address has been
// granted. The table only ever restricts. What it does not guard passes it
// untouched, and what it lets pass is still judged by the host's other tables.
//
//	prerouting  knocks are not tracked: a flood of them, from whatever
//	            addresses, takes no room in the table of connections; nor do
//	            packets that are only captured, nor (output) the answers to them
//	input       to this host's sockets        forward  to what DNAT publishes
//	  knocks, and the loopback       accept; with Stealth knocks that are heard
//	  to a guarded port, TCP or Cut  -> its chain
//	  replies                        accept
//	  to a guarded port, UDP         -> its chain
//	  other UDP, with Stealth        -> unsolicited: drop
//	a port's chain
//	  established                    accept, without Cut
//	  granted, by a set each         accept
//	  (IPv4 and IPv6 addresses, networks of 64 bits, anyone of each family)
//	  whatever else                  drop, or answer as a closed port does
//
// Grants are elements of sets, and the kernel ends them by their timeouts: they
// end when every process of ours is dead. The table stays, closed. A stranger's
// packet changes nothing: it makes no element and no connection, whose tracking
// begins only with a packet that got through to the end.
//
//	Claim   the table made anew, closed, in one transaction, without an instant
//	        in which a port of both the old and the new table is open
//	Apply   many changes in one transaction, as an access.Enforcer; it is split
//	        only if it fails, so that one that fails keeps no other from opening
//	Close   nobody is let in, and no port takes knocks; the table stays
//	Clear   the table is gone, and the ports are open
//
// What the host sends to itself over the loopback is left alone. All of it
// works in network namespaces, with CAP_NET_ADMIN there.
package firewall
