// Package gate opens what a correct sequence is for.
//
//	sessions.Grant, of a knock: all services that the client may open
//	Order, of an operation: one of them, to open or to close
//	  -> Services  which services the client may open
//	  -> Service   whose leases and random ports run, and until when
//	       Leases  the former as pure functions of the grants and now
//	  -> Door      what a lease opens, for an address, until a time
//	       TCP     a listener: with a Web server behind it, or a Proxy
//	       UDP     a socket whose datagrams go to an upstream
//	       and package helper's, for ports that another program listens on
//	  or RandomPort, of the door that is a PortOpener: instead of the lease
//	       tcpPort a listener for one connection, to the door's Server
//	       udpPort a socket for one flow, to the door's upstream
//
// A random port is for one address, by the order's time; the kernel screens it
// as it does the door. It is closed before the first byte of its connection is
// served, and a second one finds nobody. The connection belongs to the order:
// it ends with its time, or lives on, by the service's terms, whatever becomes
// of other leases of its address; and with its client when he is revoked. Each
// that waits has a goroutine, of UDP with 64 KiB to read into, and each flow's
// socket as well.
//
// A door is closed at every moment but while it is told otherwise: it begins
// closed, a failure to open leaves it closed, and a Service closes its doors
// when Run returns. A Service calls its doors under its own lock, one call at
// a time, a few for a grant and none for a knock; a door's lock is taken for a
// connection too. Leases, addresses a client, random ports, connections and
// flows are bounded.
package gate
