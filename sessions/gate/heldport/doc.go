// Package heldport keeps other programs of the host from using the ports of
// hidden services while the services are closed. Clients would take a program that
// listens there for the service, and send it their passwords.
//
//	TCP  a socket that is bound and does not listen: strangers get the reset of
//	     a closed port. Listen opens the port, StopListening closes it and keeps
//	     it bound.
//	UDP  a socket for each address of the host, bound and connected to itself:
//	     the kernel delivers no datagram to it, and answers datagrams with ICMP,
//	     as at a closed port. Listen adds the socket that receives datagrams.
//
//	Stale      the interface of a link-local address was replaced: bind again
//	Receivers  the UDP ports of all programs, for stealth
//
// No other program can bind such a port or listen at it, nor does the kernel choose
// it for an outgoing connection. SO_REUSEADDR, which would admit others while a TCP
// socket does not listen, is off, except while BindTCP binds next to sockets that
// an earlier run of the server has left. SO_REUSEPORT is on: it lets sockets of one
// user share a port, and excludes those of other users. So earlier connections do
// not prevent the socket from listening again, and the two kinds of UDP sockets can
// share the port.
//
// Only one goroutine at a time may use a port.
package heldport
