// Package relay carries connections and datagrams from the clients of a hidden
// service to its upstream.
//
//	TCP.Carry  an accepted connection: connect, then copy both ways, each
//	           direction in a goroutine, until both are done or one breaks;
//	           after a side's end of file, a goroutine watches it for a reset
//	           TCP.Pause stops that between two reads: then nothing of the
//	           connection is in this process, and another one can Resume it
//	Accepts    whether a program of a user listens at an upstream; Receives for UDP
//	Inherited  the listening Unix sockets that a program inherits, one for each run
//	UDP.Serve  a socket: one goroutine reads what clients send; each flow, which
//	           is a client's address and port and the local address that it
//	           uses, has a separate socket towards the upstream, and a goroutine
//	           that finds the upstream and reads the answers; it tries the next
//	           address after an ICMP error, and follows a name that has moved
//	UDP.ServeSingleFlow  a socket of one flow, the first; it closes with the flow
//
// An upstream of TCP may be a Unix socket. It has no reset: when a client resets its
// connection, the program reads an end of file, unless the relay had not read all
// that the program sent; then it reads ECONNRESET. Writing fails in both cases. When
// the program closes its socket, or ends, the relay reads the rest, and then closes the
// client's connection: in order, or with a reset if the program had not read all.
// Unlike a FIN, the close shows that the program has ended its reading, so the relay
// does not wait for the client's end of file.
//
// An upstream of this host may have to belong to a user (OwnerUID). Before it sends a
// byte, the relay asks the kernel for the user at the other end of a connection
// (package sockowner). Datagrams have no connection: a flow asks when it begins,
// after an ICMP error, and once a second. A program that passes its socket to a process
// of another user stays its owner.
//
// All flows of a relay share the queries for the upstream's addresses (upstream.go).
// A route is the address that a flow uses, and those that it tries next (route.go).
//
// The caller decides which addresses may begin a flow. For other addresses, the
// relay makes no connection, flow, goroutine or log line. A relay's flows are
// bounded, in all and per address, and so are flows that are ending; each has a
// read buffer of 64 KiB, and stores up to as much while its upstream is looked up;
// each socket of clients has a read buffer of 64 KiB too.
package relay
