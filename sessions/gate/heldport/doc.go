// Package heldport keeps the ports of hidden services from other programs of
// the host while the services are closed. Whoever listened there would be the
// service for its clients, and learn their passwords.
//
//	TCP  a socket that is bound and does not listen: strangers get the reset of
//	     a closed port. Listen opens it, Hide closes it and keeps it bound.
//	UDP  a socket for each address of the host, bound and connected to itself:
//	     the kernel hands it nobody's datagrams, and answers them with ICMP, as
//	     at a closed port. Listen adds the socket that takes datagrams.
//
// Nobody else can bind such a port or listen at it, nor does the kernel choose
// it for an outgoing connection. SO_REUSEADDR, which would let others in while
// a TCP socket does not listen, is off but beside what an earlier run of the
// server has left. SO_REUSEPORT is on: sockets of one user share a port by it,
// and those of others do not. So connections that live on do not keep the
// socket from listening again, and the two kinds of UDP sockets bear each other.
//
// A port is used by one goroutine at a time.
package heldport
