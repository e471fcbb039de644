// Package udp is what all receivers of datagrams share: sockets, their
// addresses, waiting, and recvmmsg. It knows nothing of knocks.
//
//	Addresses   where to receive, and what "::" means beside others; pure
//	AnyAddress  probes which families the host has
//	Socket      binds a socket, and prepares it before that
//	Waiter      epoll over sockets, and an eventfd that wakes it
//	Messages    up to 64 datagrams in one system call (recvmmsg), straight into
//	            memory of the caller's; Name: where each came from
//
// Nothing is allocated for a datagram. A Waiter and Messages belong to one
// goroutine, but for Waiter.Add and Waiter.Wake.
//
// All unsafe code of ingest is in messages_linux.go. Linux only, but for Addresses.
package udp
