// Package udp has the parts that all receivers of datagrams share: sockets, their
// addresses, waiting, and recvmmsg. It is independent of knocks.
//
//	Addresses   where to receive, and what "::" means in a list; pure
//	OnHost      the addresses without those that require IPv6, on a host without it
//	Socket      configures a socket, and binds it
//	Waiter      epoll over sockets, and an eventfd that wakes it
//	Messages    up to 64 datagrams in one system call (recvmmsg), directly into
//	            memory of the caller; Name: the source of each
//	Outgoing    as many answers in one system call (sendmmsg)
//
// Nothing is allocated for a datagram. A Waiter, Messages and Outgoing belong to one
// goroutine, except for Waiter.Add and Waiter.Wake.
//
// All unsafe code of ingest is in messages_linux.go and send_linux.go, and in
// arrays_linux.go of package xdp. Linux only, except for Addresses.
package udp
