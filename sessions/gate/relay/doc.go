// Package relay carries what comes to a hidden service on to its upstream.
//
//	TCP.Carry  an accepted connection: connect, then copy both ways, each
//	           direction in a goroutine, until both are done or one breaks
//	UDP.Serve  a socket: one goroutine reads what clients send; each flow, a
//	           client's address and port, has a socket of its own towards the
//	           upstream, and a goroutine that reads the answers
//
// Who may come in is the caller's to say. Nothing is made for anybody else:
// no connection, flow, goroutine or line in the log.
package relay
