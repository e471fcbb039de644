// Package holder keeps the privilege to change the firewall in a small separate
// process, the holder, apart from the server, which parses strangers' packets.
//
//	the server, without privileges            the holder: CAP_NET_ADMIN, and
//	                                           CAP_BPF for the shield
//	Conn.Begin
//	  -> begin: version, and the digest of
//	     the server's configuration -------> equal? then Config.Claim: from now on
//	                                           the firewall is this server's
//	  <- ready: everything is closed <------
//	Enforcer.Apply, Conn.OpenKnockPorts
//	  -> request: changes, or ports, of fixed
//	     size, up to MaxChanges of them --->  parse -> Policy, Schedule: does the
//	                                            configuration allow each?
//	                                          -> firewall.Table: one transaction
//	  <- reply: done, or which changes
//	     failed, and why <------------------
//	Conn.Stop
//	  -> exit ----------------------------->  everything is closed, and then
//	  <- reply: closed, or why not <--------
//
// Two requests take longer, and run concurrently with the others: ending
// connections (disconnector.go), and querying which peers have connections
// (connected.go). Loading the shield does so as well (shield.go): the program at the
// network driver, if the configuration has it. Its reply passes the descriptors of
// the arrays that the program shares with the server, and neither that of the program
// nor one by which the server could detach it. A former shield stays attached until the
// next one is loaded.
//
// Services may be on trial (trial.go; package firewall explains it). The server asks what
// is on trial, and which services have a connection that began by a grant. To confirm, it
// first writes the record of trials, which the holder then reads: the request itself
// names no service. A server that reloads may ask for a trial: then the holder puts what
// the configuration newly hides on trial with the first of the two requests of a reload,
// and takes it back if the server aborts.
//
// When a server has begun, it asks what is in force in the holder's process (sandbox.go):
// only the process itself knows all of it.
//
// A command of the administrator may ask an independent holder to read its configuration
// again, by another connection (reload.go): the request has at most the time of a
// trial. It waits for no turn, and is for the users whose servers the holder serves.
//
// Server and holder use a socket that preserves message boundaries
// (SOCK_SEQPACKET), with one request at a time. It is a socket pair, if the server
// has started the holder; or a socket in the file system, at which an independent
// Holder serves one server after another (Conn.Run connects to the next holder).
// There each end checks the credentials that the kernel has of the other
// (peer_linux.go).
//
// The server asks for a sign of life every ten seconds (silence.go). A holder that does not
// answer is silent: nothing opens, and the leases in force stay. A request without a reply
// has an unknown outcome, and so has a lease that must end before its time: then the server
// gives up the holder, and also after a minute of silence.
//
// The holder reads the configuration independently. A request names services by
// identifiers that both processes derive from the names. It cannot open a service
// that is not configured, nor for longer than configured, nor to anyone unless that
// is configured; it cannot open another port of a service whose port rotates than one
// that may be drawn for it, nor such a port of another service; and the holder opens
// only knock ports that the schedule has drawn for now, and, for TraceTime, of minutes
// around, where a trace listens: the firewall lets datagrams of a knock's form to a
// socket of this host there. A server that has read another
// configuration, or is of a release with another version of the messages, does not
// start. Times are relative in messages, since each process has its own clocks: within
// the server, leases end by clock.Boot and the kernel's elements by clock.Monotonic, and
// Enforcer converts.
//
// The holder does not touch the firewall until a server begins, and a server
// begins only after it has locked its state directory. When the server's end of
// the connection closes, however the server ended, the holder closes everything.
// When the holder dies, the kernel's timeouts end what is open, and nothing opens until
// there is another holder, which begins by closing everything. The server then applies the
// leases that are still in force, or has ended all of them.
package holder
