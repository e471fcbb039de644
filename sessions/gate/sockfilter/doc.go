// Package sockfilter makes the kernel deliver to a socket only packets from granted
// addresses. For UDP sockets it requires no privilege; for TCP sockets that depends
// on the kernel: see Supported.
//
//	Set      the addresses, the networks, or anyone
//	Program  the set as classic BPF: version, then a search tree
//	DenyAll  for a socket that is not bound yet: no packet passes
//	Attach   for an existing socket: replaces the set, in one step
//	Detach   for an accepted connection: removes the filter
//
// The kernel runs the filter of a listening TCP socket on every segment to its port
// that belongs to no connection, and drops refused segments before it would answer
// them. So a stranger gets no answer, whatever flags it sets, as if a firewall
// dropped its packets, and cannot find out whether another host has access. Of a
// handshake the filter sees the SYN and the last ACK: a client that is removed from
// the set in between is not admitted, and its kernel retries until it gives up. A
// connection begins with the listener's filter of that instant, and would lose
// packets that this filter refuses: Detach removes it.
//
// The filter of a UDP socket sees each datagram; the kernel does not answer refused
// ones with ICMP either.
package sockfilter
