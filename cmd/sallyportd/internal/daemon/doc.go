// Package daemon wires the server: how it makes its parts from a configuration, in
// which order they start and stop, and how it applies a change.
//
// A configuration, from the file to a server that runs:
//
//	config.Load    text -> Config (immutable)        clients.Load  text -> List
//	newPlan        both -> plan: the input of each stage; nothing is changed yet
//	               (the caller locks the state directory, and only then the holder
//	                 begins and touches the firewall)
//	New            state directory opened -> gate, closed -> sessions -> ingest
//	                 -> challenger; the plan's secrets are in separate tables, and
//	                 the List is released
//	Run            the ports of services; then ingest, sessions and challenger,
//	                 gate, counters, each of which ends after the one before it
//	Ready          the first ports are open, and the second is over up to which
//	                 a start rejects knocks
//	Serve          Run, and once it is ready: SIGHUP, the clients file, the admin
//	                 socket
//
// A grant, from the decision to the kernel:
//
//	sessions       the last knock of a sequence -> Grant and journal entry
//	recorder       a batch of both: the entries are durable before the grants
//	gate.Services  which services each client may open -> leases -> changes
//	enforcers      listener, socket filter, flows; and for all services behind
//	                 the firewall one request to the holder, one transaction
//	announcing     the grants that took effect, for watchers
//
// or, by the challenge–response protocol (challenger):
//
//	capture        packets, or SYNs -> handshakes.Table, which also sweep reads;
//	               none with capture = "none"
//	  request      complete -> the challenge: capture.Answer, or with transport =
//	                 "tcp" answers, which opens answer_port for the address
//	  response     right -> proofs, which wait; for each prover the newest
//	carriers       HTTP requests and DNS queries -> carried.Table -> the challenge,
//	               in the answer; a right response -> the same proofs. run binds their
//	               sockets, and tries again while another program has one; New reads the
//	               site and the certificate, and a reload reads them again. To
//	               strangers they are a site and an empty zone. They end with the capture; a request that
//	               outlasts its listener delivers no proof (proofs.close)
//	Server.execute all of them in one batch: first those that close
//
// A closing attempt takes the way of a grant until the recorder, which then calls
// closeOwn instead of the gate: all leases of the client end. leased marks the clients
// with leases in the key tables, since the verifiers compare closing MACs of these only.
//
// The parts stop in the order of a datagram's way, each when the one before it can
// deliver no further work: ingest, sessions and challenger, the connections of services
// in this process (moved.go), gate, counters; then the state directory, and last the
// holder, which answers that everything is closed. A part that fails stops the others.
// The connection to "firewall hold" may be lost while the server runs (watchHolder):
// leases wait for the next holder, which gets them and the knock ports.
//
// In a fleet (fleet.go, shared.go, split.go, presence.go, clientlist.go), by packages fleet,
// grants, split, presence and fleetlist:
//
//	New            opens the connection to etcd without waiting; then waits for one
//	                 write at most, that of this gateway's key: another gateway that
//	                 has the name is an error
//	recorder       the entries are durable on etcd and in the state directory before
//	                 the grants
//	fleet.Run      nonces that others use -> Sessions.Learn
//	uses           a use counts on etcd, and then in the state directory
//	announcing     grants of services with spread = "all", after they took effect
//	                 -> grants.Open, which never waits
//	grants.Run     those of the others -> sharedGate, the same gate; their closing
//	                 attempts -> endOwn, and deleted keys -> CloseShared
//	split.Run      sequences that are split over servers: knocks of Sessions
//	                 -> etcd -> Sessions.Complete
//	closeOwn       closing attempts -> grants.Closed
//	narrow         clients that lose rights -> grants.Withdraw
//	presence.Run   what this gateway runs, and in the log what differs at the others
//	followList     with clients = "fleet": each list in etcd -> narrowBy, and then the same
//	                 way as a reload of the clients file. It begins when the knock ports
//	                 are open, and the server accepts knocks after the first decision about
//	                 the list, or when etcd does not answer. It does not watch the copy
//
// The connection closes after all of these, and before the state directory.
//
// The shield (shield.go) is in force while a holder has it: the holder passes the arrays
// of the program at the network driver, and the receiver reads its rings beside the
// sockets. If the holder is lost, or refuses, the receiver has its sockets only, and the
// next holder is asked. If the configuration requires no firewall, the holder has the
// shield only (Env.Unguarded), and its loss ends no lease.
//
// A reload is decided before anything changes: each step prepares everything that
// can fail. When all steps have, they take effect, in an order in which a new
// client is restricted before its knocks are accepted, and a removed one opens
// nothing from the first step on.
//
// Rights that are taken away do not wait for that:
//
//	leave          finds the clients that leave: those that the file lacks, and
//	                 those that have lost a secret; another client then has the
//	                 identifier of the latter, and inherits nothing
//	narrow         removes the gate's rights, and cuts what is open; then removes
//	                 operations and sessions, and waits for the earlier decisions,
//	                 which may wait for etcd; then cuts what is open again. For
//	                 the admin socket (Restrict), and for a file that a step rejects
//	expire         clients whose time is over lose everything in that way, each second.
//	                 The key table refuses their knocks to the second
//	missing        clients that an edit removes, without a command of the
//	                 administrator, keep their leases until the file stays unchanged.
//	                 Not with a list in etcd, which is always complete
//	narrowBy       narrow for what a list in etcd removes, before the list is parsed
//
// A trace (trace.go, trace_config.go, package tracing) explains to the administrator why
// the knocks of one client are refused. It ends by itself:
//
//	ingest.Trace       socket filters pass its identifier, ports of other minutes are open
//	                   and accept nothing, refused datagrams are explained
//	sessions.Trace     what becomes of its authenticated knocks and attempts
//	challenger         the same for its exchanges
//	  -> tracing.Trace budgets, lines in words -> the admin socket
//
// The operator's programs (programs.go) are started by runners, which exist before New:
// Env.Programs has the connections to them. New lets them start programs when it has
// locked the state directory. At the end, the gate closes and stops its programs, closing
// commands run, and then the runners end. Commands that are left are in the record.
//
// A kept lease, which has no end, outlasts the server (kept.go, execute.go, reopen.go):
// it is recorded in the state directory before the gate opens it, and removed from the
// record when the gate reports its end. The record decides what is open: what the gate
// lacks, after a start or a holder's loss, opens again, if the operation would still
// grant it.
//
// The uses of an operation with a limit are counted (uses.go) between a verified response
// and the command: a use is durable before Server.execute gets the command, and no
// challenge is drawn once none is left. That may wait for etcd or the disk (counting.go),
// for which no other operation, reload or revocation waits.
//
// A connection of a proxy outlasts the server, if the service manager keeps its sockets
// (moved.go, package moved). The order makes the next server decide about it:
//
//	finish         no grant can come: the services accept no further connection, and
//	               pause those that they have -> the manager's store
//	gate.Run       closes everything; a lease that was in force is recorded afterwards
//	  the next server
//	openInterrupted
//	takeStored     the store -> this process; nothing is left in the store
//	reopenKept
//	adoptStored    -> gate.Services.Adopt, which asks for clients, rights and leases
//	interrupted.opened is closed: from here on revocations can come
//
// A connection that the kernel forwards belongs to an address, and the address to
// clients (carried.go): it is recorded before the address is let in, until nothing
// is connected from there. After a start the record is all that is known of such
// connections; it lets no client in.
package daemon
