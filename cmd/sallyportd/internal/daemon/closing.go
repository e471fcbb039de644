package daemon

import (
	"sync"

	"sallyport/sessions"
	"sallyport/sessions/gate"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// leased marks the clients that have a lease in each key table that verifiers use: only
// of these does a verifier compare the MACs of closing knocks. Its methods may be called
// concurrently. The zero value is ready.
type leased struct {
	mu     sync.Mutex
	of     map[wire.Identifier]int // at how many services a client has leases
	tables []*verify.KeyTable
}

// set records that a client has leases of a further service, or of one service less.
func (l *leased) set(id wire.Identifier, some bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[wire.Identifier]int{}
	}
	before := l.of[id]
	after := before - 1
	if some {
		after = before + 1
	}
	if l.of[id] = after; after == 0 {
		delete(l.of, id)
	}
	if (before > 0) == (after > 0) {
		return
	}
	for _, t := range l.tables {
		t.SetLeased(id, after > 0)
	}
}

// use marks the clients of a table, from now on until drop.
func (l *leased) use(t *verify.KeyTable) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tables = append(l.tables, t)
	for id := range l.of {
		t.SetLeased(id, true)
	}
}

// keepOnly drops all tables but one.
func (l *leased) keepOnly(t *verify.KeyTable) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tables = append(l.tables[:0], t)
	clear(l.tables[1:cap(l.tables)]) // their memory is that of all clients
}

// closeOwn ends all leases of clients that have completed a closing attempt, here and at
// the other servers of a fleet.
func (s *Server) closeOwn(all []sessions.Closing) {
	if s.shared != nil {
		s.shared.Closed(all) // first: from then on, no earlier grant of another server opens
	}
	s.endOwn(all)
}

// endOwn ends all leases of clients that have completed a closing attempt, whatever
// address or operation they are of, and removes them from the record. Connections end by
// the policy of their service. Leases of other clients stay, also for the same address.
func (s *Server) endOwn(all []sessions.Closing) {
	of := make(map[wire.Identifier]int, len(all))
	for _, c := range all {
		of[c.Identifier] = 0
	}
	s.kept.serial.Lock()
	defer s.kept.serial.Unlock()
	s.challenge.dropWaiting(func(c command) bool { _, is := of[c.at.client]; return is })
	mine := func(l gate.Lease) bool { _, is := of[l.Client]; return is }
	for _, l := range s.gate.EndLeases(mine, false, gate.Requested) {
		of[l.Client]++
	}
	s.kept.endIf(func(at address) bool { _, is := of[at.client]; return is })
	s.kept.flush() // it logs errors, and does nothing if no lease was recorded
	for _, c := range all {
		s.env.Log.Info("client closed its leases", "client", c.Identifier, "address", c.Address, "leases", of[c.Identifier])
	}
}
