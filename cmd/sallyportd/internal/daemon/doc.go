// Package daemon wires the server: what is made from a configuration, in which
// order its parts start and stop, and how it takes a change.
//
// A configuration, from the file to a server that runs:
//
//	config.Load    text -> Config (immutable)        clients.Load  text -> List
//	newPlan        both -> plan: what each stage gets; nothing is changed yet
//	               (the caller has the state directory, and then the holder begins:
//	                 nothing of the firewall is touched before)
//	New            state directory opened -> gate, closed -> sessions -> ingest
//	                 -> challenger; the plan's secrets are in tables of their own,
//	                 and the List is let go of
//	Run            the looks of services; then ingest, sessions and challenger,
//	                 gate, counters, each of which ends after the one before it
//	Ready          the first ports are open, and the second is over up to which
//	                 a start refuses knocks
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
//	announcing     what has opened, for those who watch
//
// It stops in the order of a datagram's way, each part when nothing can come
// from the one before it: ingest, sessions and challenger, gate, counters; then
// the state directory, and last the holder, which answers that everything is
// closed. A part that fails stops the rest. A holder that goes on by itself may be
// lost and found again meanwhile (watchHolder): all leases end, and the next holder
// is told of the knock ports.
//
// A reload is decided whole before anything changes: each step prepares what can
// fail, and only when all have, they take effect, in an order in which a client
// that is new is restricted before its knocks are accepted, and one that has left
// opens nothing from the first step on.
//
// Rights that are taken away do not wait for that:
//
//	leave          who leaves: the clients that the file lacks, and those that
//	                 have lost a secret; the latter are followed by another
//	                 client of their identifier, which inherits nothing
//	narrow         rights are gone, operations, then sessions; what was decided
//	                 before is carried out; then what is open ends. For the admin
//	                 socket (Restrict), and for a file that a step refuses
//	missing        clients that an edit lacks without a word of the administrator
//	                 keep what they have until the file stands unchanged
//
// What the kernel carries belongs to an address, and that to clients (carried.go):
// it is recorded before the address is let in, until nothing is connected from
// there. At a start the record is all that is known of what is connected; it lets
// nobody in.
package daemon
