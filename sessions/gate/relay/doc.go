// Package relay carries connections and datagrams from the clients of a hidden
// service to its upstream.
//
//	TCP.Carry  an accepted connection: connect, then copy both ways, each
//	           direction in a goroutine, until both are done or one breaks;
//	           after a side's end of file, a goroutine watches it for a reset
//	UDP.Serve  a socket: one goroutine reads what clients send; each flow, which
//	           is a client's address and port and the local address that it
//	           uses, has a separate socket towards the upstream, and a goroutine
//	           that finds the upstream and reads the answers; it tries the next
//	           address after an ICMP error, and follows a name that has moved
//	UDP.ServeSingleFlow  a socket of one flow, the first; it closes with the flow
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
