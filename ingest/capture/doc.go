// Package capture hears the empty UDP packets of the challenge–response
// protocol, and sends its challenges (deGraaf, Aycock, Jacobson 2005, sections 3
// and 6.3).
//
//	captured  AF_PACKET, for IPv4 and IPv6 each; the kernel's filter
//	          (Program) lets through what the rule does: whole and empty UDP
//	          packets, for this host, to the range. The ports stay closed
//	bound     or a UDP socket a port, whose filter lets empty datagrams through
//	  -> recvmmsg  up to 64 at a time (udp)
//	  -> parse     the same rule again; sources that cannot be; Packet
//	  -> Sink
//	Answer <-      one datagram back, from the very port: by a raw socket, or
//	               the bound one
//
// A capture hears what the host's own rules then drop or refuse: it takes
// nothing away, and changes no answer of the kernel's. Nothing is ever sent but
// by Answer.
//
// Each socket that captures has a goroutine; all that are bound share one. The
// Sink is called by one at a time. What comes while it is busy waits in the
// sockets, which drop what they have no room for: Stats counts that. Nothing is
// allocated for a packet.
package capture
