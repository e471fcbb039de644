// Package screen has the kernel hand a socket only what comes from granted
// addresses. For UDP sockets it takes no privilege; for TCP ones it depends on
// the kernel: see Allowed.
//
//	Set      the addresses, the networks, or everybody
//	Program  the same as classic BPF: version, then a search tree
//	Closed   for a socket that is not bound yet: nobody
//	Attach   for a socket that is there: another set, in one step
//	Release  for a connection that was accepted
//
// The kernel runs a listening TCP socket's filter on every segment to its port
// that belongs to no connection: what is refused is dropped before anything
// would be answered. So a stranger meets silence whatever flags he sets, as if
// a firewall dropped what he sends, and cannot tell whether somebody else gets
// in. Of a handshake it sees the SYN and the last ACK: who is no longer in the
// set in between is not let in, and his kernel tries until it gives up. A
// connection begins with the filter that the listener had at that instant, and
// would lose what it refuses: Release takes it off.
//
// A UDP socket's filter sees each datagram; what is refused is not answered by
// ICMP either.
package sockfilter
