// Package gate turns grants into leases. The path of a grant, from the decision
// to the kernel:
//
//	sessions.Grant, of knocks: a batch, for all services that each client may
//	open                                  Command, of an operation: one service
//	  -> Services.Open  rights.go: which services           -> Services.ExecuteAll
//	  -> open           open.go: each request is a lease, and may displace others
//	       Leases       leases.go: until when, as a pure function of grants
//	       step         one change for one peer of one service
//	  -> enforce        enforce.go: one Apply for each enforcer, and the only
//	                    place that undoes a change
//	  -> access.Enforcer
//	       TCP          a listener, with a Web server behind it or a Proxy
//	       UDP          a socket whose datagrams go to an upstream
//	       Rotating     one TCP or UDP for each drawn port, made on demand (rotate.go)
//	       and holder.Enforcer, of all services: the firewall, in one transaction
//	         -> package holder -> package firewall -> nf_tables
//	  or RandomPort     of the enforcer that is a PortOpener, instead of a lease
//	       tcpPort      a listener for one connection, to the enforcer's Handler
//	       udpPort      a socket for one flow, to the enforcer's upstream
//
// A grant of another gateway of a fleet (shared.go) opens the shared services only, and at
// most for the time that it has left. A revocation there ends the lease here.
//
// If an enforcer of a service fails to carry out a grant, the grant opens nothing
// at that service. It does not prevent other grants, nor the other services.
//
// The log has a line for each lease that begins, is extended and ends (story.go).
// Service.Run ends a lease, or an operation or a reload does. Leases use
// clock.Boot: the wall clock can be set, and timers stand still while the host is
// suspended. So Run checks the leases when the host resumes, and at least once a
// second while there are any.
//
// A kept lease (kept.go) has no end. Its enforcers get changes with an end all the
// same, which Run renews; so a crash closes the service. The caller records kept
// leases, and opens them again after a restart; ServiceConfig.KeptEnded reports those
// that have ended for good.
//
// A TCP or UDP enforcer holds its port from Prepare to Close, open or not (package
// heldport): otherwise another program could bind the port, and the clients would
// take it for the service. A service whose port cannot be bound yet stays closed,
// in the firewall too, and a goroutine of Run retries (bindport.go). Its leases
// begin and end meanwhile, and take effect when the port is bound. A program that does
// not accept connections, and commands that cannot run, are obstacles of the same kind
// (obstacle.go).
//
// A service may have a program behind it, and commands for its leases (programs.go;
// package program has both):
//
//	Open      begins a lease, pending     -> LeaseCommands.Begin, Backend.Need(true)
//	  done    its command has succeeded   -> enforce: the lease takes effect, if there
//	          is no obstacle, and ServiceConfig.Opened reports it
//	          its command has failed      the lease ends
//	  ready   the program accepts         -> enforce, for all leases
//	logEnded  a lease ends                -> CommandedLease.End, once
//	sweep     the last one has ended      -> Backend.Need(false)
//
// A pending lease (pending.go) admits no peer, and is a lease in all other respects. No
// command or program runs under the lock of a service, and nothing waits for one.
//
// A connection or flow of an enforcer in this process belongs to the clients whose
// leases let it in (access.Owners); a revocation ends the connections of the
// client. The firewall knows only addresses: there a revocation ends all
// connections from the addresses that the client had, which the caller records
// (ServiceConfig.Past).
//
// A reload is decided before anything changes (update.go, reload.go):
//
//	Services.Prepare  does all that can fail, and lets in the peers of the new policy
//	  Restrict        restricts new clients before they can knock; removed clients
//	                  can open nothing from here on
//	  Commit          applies the new policy; removed clients lose everything
//	  Abort           instead of both: the old policy stays
//
// The connections of a TCP enforcer with a Prover must prove that they are a client's
// (proved.go, package prove). A lease then only lets an address try:
//
//	Prover.Serve   accepts -> listener.Try    is there a lease for the address?
//	  handshake    authentic, by a client that holds a lease itself (Service.holds)
//	listener.Own   the connection is this client's: a revocation ends it, and so does
//	               the end of the client's lease, by the policy
//	listener.Pass  the nonce is on disk -> the Handler
//
// A program behind the firewall can have such an enforcer before it, at another port: the
// firewall redirects the connections of admitted peers to it, and its Handler, a Proxy,
// connects to the program. A lease opens the enforcer first, and then the redirect.
//
// A lease may be for any address, if the connections of its service prove themselves
// (anyaddress.go): that of an exchange whose messages came through a resolver or a proxy.
//
// A random port is for one peer, or for any, and the time of its command; the kernel filters it
// like the service's own port. The server closes it before it serves the first
// byte of its connection; a second connection is refused. The connection belongs
// to the command: it ends, or continues after the command's time, by the service's
// policy, whatever happens to other leases of its peer; it ends if its client is
// revoked. Each waiting port has a goroutine, and for UDP a read buffer of 64 KiB,
// as has the socket of each flow.
//
// A tunnel (tunnel.go) is a connection that came through another listener, and has
// proved by a ticket of which operation it is:
//
//	Services.Tunnel   -> openWay: it is like a random port whose connection has come
//	                  -> or, if connections prove themselves, Prover.Add
//	  relay.Bridge    copies between the tunnel and a connection on the loopback
//	  Inlet           counts the other end of that, and passes it to the Handler
//
// The connections of a proxy can be carried on by the next process (finish.go, move.go):
//
//	Services.Finish   the services of this process accept no further connection;
//	                  relay.TCP.Pause stops the copying, and nothing is left in the process
//	  conn.give       from its enforcer -> Moved, with the owners and whether a lease of
//	                  theirs admits it; a connection that was cut is not given
//	  the next process
//	Services.Adopt    standing.refuses -> reset; or it is a connection of the enforcer again
//
// An enforcer is closed at every moment except while a change opens it: it is
// closed when created, a failed change leaves it as it was, and Run closes it
// before it returns. A Service calls its enforcers under its own lock. A batch
// holds the locks of all its services, in the order of the list: the locks are
// taken once per batch of grants, never per knock. A connection also takes the
// enforcer's lock. Leases, addresses per client, random ports, connections and
// flows are bounded.
package gate
