// Package gate opens what a correct sequence is for. The way of a grant, from
// the decision to the kernel:
//
//	sessions.Grant, of knocks: a batch of them, for all services that each
//	client may open                       Order, of an operation: one service
//	  -> Services.Open  rights.go: which services           -> Services.DoAll
//	  -> open           open.go: each request is a lease; what gives way to it
//	       Leases       leases.go: until when, as a pure function of grants
//	       step         what is to become of one peer of one service
//	  -> enforce        enforce.go: one Apply for each enforcer, and the only
//	                    place that takes anything back
//	  -> access.Enforcer
//	       TCP          a listener, with a Web server behind it or a Proxy
//	       UDP          a socket whose datagrams go to an upstream
//	       and helper.Enforcer, of all services: the firewall, in one transaction
//	         -> package helper -> package firewall -> nf_tables
//	  or RandomPort     of the enforcer that is a PortOpener, instead of a lease
//	       tcpPort      a listener for one connection, to the enforcer's Server
//	       udpPort      a socket for one flow, to the enforcer's upstream
//
// A grant that fails at one enforcer of a service opens nothing there, and keeps
// no other grant or service from opening.
//
// A lease ends by Service.Run, or by the operation or the reload that ends it.
// Leases go by clock.Boot: the wall clock can be set, and timers stand still while
// the host is suspended, so Run looks when the host wakes, and at least once a
// second while there are any.
//
// A TCP or UDP enforcer has its port from Prepare to Close, open or not (package
// heldport): another program there would be the service for its clients.
//
// A connection or flow of an enforcer in this process belongs to the clients by
// whose leases it came in (access.Owners); a revocation ends those of the client.
// Of the firewall, which knows addresses alone, all from the addresses that the
// client had end, which the caller remembers (ServiceConfig.Past).
//
// A reload is decided before anything changes (update.go, reload.go):
//
//	Services.Prepare  all that can fail; whom the new terms let in is let in
//	  Restrict        new clients have their restrictions before they can knock,
//	                  and those that are gone open nothing
//	  Commit          the new terms are in force; removed clients lose everything
//	  Abort           instead of both: the old terms stay
//
// A random port is for one peer, by the order's time; the kernel filters it as it
// does the service's own. It is closed before the first byte of its connection is
// served, and a second one finds nothing. The connection belongs to the order: it
// ends with its time, or lives on, by the service's terms, whatever becomes of
// other leases of its peer; and with its client, when that is revoked. Each that
// waits has a goroutine, of UDP with 64 KiB to read into, and each flow's socket
// as well.
//
// An enforcer is closed at every moment except while a change says otherwise: it
// begins closed, a change that fails leaves it as it was, and Run closes it when
// it returns. A Service calls its enforcers under its own lock, and a batch under
// those of all services that it is for, in their order: once for a batch of
// grants, never for a knock. An enforcer's lock is taken for a connection too.
// Leases, addresses a client, random ports, connections and flows are bounded.
package gate
