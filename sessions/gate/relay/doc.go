// Package relay carries what comes to a hidden service on to its upstream.
//
//	TCP.Carry  an accepted connection: connect, then copy both ways, each
//	           direction in a goroutine, until both are done or one breaks;
//	           whoever has said all is watched, lest its reset go unseen
//	UDP.Serve  a socket: one goroutine reads what clients send; each flow, a
//	           client's address and port and which of our addresses it asked,
//	           has a socket of its own towards the upstream, and a goroutine
//	           that finds the upstream and reads the answers
//	UDP.ServeOne  a socket of one flow, the first, with which it ends
//
// Who may come in is the caller's to say. Nothing is made for anybody else:
// no connection, flow, goroutine or line in the log. A relay's flows are
// bounded, in all and for an address, and so are those that end; each holds
// 64 KiB to read into, and as much while its upstream is looked up; so does each
// socket of clients.
package relay
