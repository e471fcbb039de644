// Package gate opens what a correct sequence is for. For now that is one
// thing: the embedded web server, which does not listen until then.
//
//	sessions.Grant
//	  -> Leases   which addresses may come in, and until when (pure)
//	  -> Web      the first lease: listen; the last one over: stop listening
//	  -> guard    accepts granted addresses only, and knows their connections
//	  -> pages    the paper's test pages, or a directory
//
// A Web is closed at every moment but while it holds a lease: it begins
// closed, a failure to listen leaves it closed, and Run closes it when it
// returns. Its state is under one lock, taken a few times for a grant or a
// connection, never for a knock. Leases, connections and addresses a client
// are bounded.
package gate
