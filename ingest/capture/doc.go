// Package capture receives the empty UDP packets of the challenge–response
// protocol, and sends its challenges (deGraaf, Aycock, Jacobson 2005, sections 3
// and 6.3).
//
//	packetSource  AF_PACKET sockets, one for IPv4 and one for IPv6. The kernel's
//	              filter (rule.program) accepts what the rule does: whole and
//	              empty UDP packets, for this host, to the range. The ports stay
//	              closed
//	socketSource  or a UDP socket for each port, whose filter accepts empty
//	              datagrams. A port that another program has is tried again
//	  -> recvmmsg  up to 64 at a time (udp)
//	  -> parse     the same rule again; impossible addresses; Packet
//	  -> Sink
//	Answer <-      one datagram back, from the port that received the packet: by a
//	               raw socket, or the bound one
//
// A packetSource also receives packets that the host's firewall drops or rejects
// later. It removes no packet, and changes no answer of the kernel. Only Answer
// sends anything.
//
// Each packet socket has a goroutine; all bound sockets share one. One goroutine
// at a time calls the Sink. Packets that arrive meanwhile wait in the queues of
// the sockets, which drop packets when they are full: Stats counts them. Nothing
// is allocated for a packet.
package capture
