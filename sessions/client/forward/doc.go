// Package forward carries local connections and datagrams to the hidden services of a
// server. It knocks when a program connects to a local port, so it serves programs that
// cannot knock: browsers, clients of databases. It builds on Linux, macOS and Windows.
//
//	ParseWord    [LOCAL:]PORT of a command line -> Word
//	Listen       Words -> Routes: sockets on the loopback; or
//	Inherited    the sockets that systemd has opened; Assign leads them to Words
//	Serve        a goroutine for each socket
//	  -> stream  a connection: at most MaxConnections at a time, others wait to be
//	             accepted
//	     -> connect  while the lease is fresh, a plain connection, which must prove
//	             itself; otherwise, or if that fails, opener.knock
//	     -> steady   replaces a plain connection that is reset in its first moments
//	     -> carry    copies both ways, a goroutine for each direction
//	  -> packets a datagram: its flow, which is a local source; at most MaxFlows at a
//	             time, a goroutine for each. A flow stores some datagrams while the
//	             knock runs, and ends when it is idle
//
// One opener serves all routes, since one knock opens all services of a client: lease
// (lease.go) has its decisions, which are functions of state and time. At most one
// knock runs for each route, and all connections and flows of the route that begin
// meanwhile wait for it. Those of another route wait for it too, for sharedTime: it
// probably opens their service. The pace of knocks is bounded (pace), far below the
// limit of a server, however many local programs connect.
//
// The lease is fresh for OpenFor after the begin of its knock. An expired lease, a new
// address of this computer or a restarted server show in the plain connection: it fails
// or is reset at once, or it is not there after patience. Then the next knock follows.
// A server whose kernel cannot filter connections accepts those of strangers, and
// resets them. So a connection counts when it has lasted for a round trip, or when the
// service has sent a byte. Until then nothing is sent, and so nothing can be lost. With
// Granted, only admitted addresses can connect at all, and the proof is omitted.
//
// A service may be open, and no program listens there (unserved.go). While the lease
// lasts, further connections get the error of the first one at once, unless a plain
// connection shows that a program listens now.
//
// Datagrams have no connection. While a flow sends, the opener knocks again when half
// of the lease has passed. If no answer comes, it knocks too, with growing pauses
// (silence), and the flow moves to the address that is open then.
//
// If one side resets its connection, the other side gets a reset. On Linux this includes
// a side that has ended its direction before. If the service does not open, the local
// connection gets a reset, and the cause is reported once (Failed). Serve resets all
// connections when it ends: after an orderly close, incomplete data would pass for
// complete.
package forward
