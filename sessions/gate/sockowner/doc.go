// Package sockowner returns the users of the sockets at the other end, on this host:
// any local user may bind an unprivileged port, or replace a Unix socket in a
// directory that it may write, before the program does for which a connection is
// meant.
//
//	Listener  the TCP socket that would accept a connection
//	Accepted  the TCP socket at the other end of a connection of this process
//	Receiver  the UDP socket that would receive a datagram
//	UnixPeer  the process that has called listen(2) for a Unix socket
//
// The kernel finds a socket by its addresses, in the tables and by the rules by
// which it delivers packets (sock_diag(7)), so that a lookup costs the same whatever
// number of sockets the host has.
//
// A user is that of the process which made the socket. A program that passes a
// socket on, to a process of another user, lends it its name: no lookup shows that.
// Numbers are those of this process's user namespace; users that it does not map
// share the number 65534.
//
// Linux only.
package sockowner
