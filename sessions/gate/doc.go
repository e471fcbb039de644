// Package gate opens what a correct sequence is for.
//
//	sessions.Grant
//	  -> Services  which services the client may open
//	  -> Service   whose leases run, and until when
//	       Leases  the same as pure functions of the grants and now
//	  -> Door      what a lease opens, for an address, until a time
//	       TCP     a listener: with a Site, the web server behind it, or a Proxy
//	       UDP     a socket whose datagrams go to an upstream
//	       and package firewall's, for ports that another program listens on
//
// A door is closed at every moment but while it is told otherwise: it begins
// closed, a failure to open leaves it closed, and a Service closes its doors
// when Run returns. A Service calls its doors under its own lock, one call at
// a time, a few for a grant and none for a knock; a door's lock is taken for a
// connection too. Leases, addresses a client, connections and flows are
// bounded.
package gate
