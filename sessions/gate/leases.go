package gate

import (
	"container/heap"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// lease admits the connections of one peer until a time.
type lease struct {
	client   wire.Identifier
	peer     access.Peer
	until    time.Time // of a kept lease: until it must be renewed
	due      time.Time // when Renewable or Expire returns it
	from     time.Time // time of the last grant
	began    time.Time
	address  netip.Addr     // of the last grant
	label    string         // the operation that granted it last; empty: knocks did
	kept     bool           // it has no end: see kept.go
	pending  bool           // it admits nothing yet: see pending.go
	took     bool           // it has taken effect
	commands CommandedLease // nil: it has none
	index    int            // in the heap
}

// Leases computes which peers are admitted. Its methods are pure functions of
// the grants so far and now. It is not safe for concurrent use.
type Leases struct {
	openFor, openMax time.Duration
	addresses        int
	byPeer           map[access.Peer][]*lease // one per client behind it
	byClient         map[wire.Identifier][]*lease
	past             map[wire.Identifier][]access.Peer // peers that had leases, the latest last
	byEnd            leaseHeap
	last             time.Time    // when the last lease ends
	stale            bool         // the lease that last came from is gone
	count            atomic.Int64 // Len, to be read by anyone at any time
	// holds is called when a client gets its first lease here, and when its last one is
	// gone; nil: it is not called.
	holds func(client wire.Identifier, some bool)
}

// NewLeases returns an empty set of leases. Each grant adds openFor to its
// lease; the remaining time of a lease never exceeds openMax. A client has
// leases for at most so many addresses: a further one displaces the lease that
// ends first.
func NewLeases(openFor, openMax time.Duration, addresses int) *Leases {
	return &Leases{
		openFor: openFor, openMax: openMax, addresses: addresses,
		byPeer: map[access.Peer][]*lease{}, byClient: map[wire.Identifier][]*lease{},
		past: map[wire.Identifier][]access.Peer{},
	}
}

// Until returns when the lease of a client and a peer would end after a grant
// of now, and whether the grant would begin a lease. A fixed time, if not zero,
// is how long the lease lasts from now on, instead of what grants add; a longer
// lease stays as it is.
func (l *Leases) Until(
	id wire.Identifier, p access.Peer, now time.Time, fixed time.Duration,
) (until time.Time, fresh bool) {
	from, fresh := now, true
	if le := l.find(id, p); le != nil && now.Before(le.until) {
		from, fresh = le.until, false
	}
	if !fresh && l.IsKept(id, p) && fixed == 0 {
		fixed = l.openFor // a lease without an end is not extended
	}
	if fixed == 0 {
		return earlier(from.Add(l.openFor), now.Add(l.openMax)), fresh
	}
	until = earlier(now.Add(fixed), now.Add(l.openMax))
	if from.After(until) {
		until = from // not shortened, even by a later maximum
	}
	return until, fresh
}

// Displaced returns the peers whose leases end if a client gets a lease for a
// peer.
func (l *Leases) Displaced(id wire.Identifier, p access.Peer) (peers []access.Peer) {
	if l.find(id, p) != nil {
		return nil
	}
	for _, le := range l.surplus(id) {
		peers = append(peers, le.peer)
	}
	return peers
}

// surplus returns the leases of a client that must end to make room for
// another: those that end first, and then kept ones, the earliest grant first.
func (l *Leases) surplus(id wire.Identifier) []*lease {
	over := len(l.byClient[id]) - l.addresses + 1
	if over <= 0 {
		return nil
	}
	of := slices.SortedFunc(slices.Values(l.byClient[id]), firstToEnd)
	return of[:min(over, len(of))]
}

// Add begins or extends a lease, as Until describes; Displaced returns the
// leases that it ends. Several calls must be undone in reverse order; undo does
// not restore a lease that a later Add has ended.
func (l *Leases) Add(id wire.Identifier, p access.Peer, now time.Time, fixed time.Duration) (undo func()) {
	return l.add(id, p, now, fixed, false)
}

// add is Add, for a lease that is pending if it begins.
func (l *Leases) add(id wire.Identifier, p access.Peer, now time.Time, fixed time.Duration, pending bool) (undo func()) {
	until, _ := l.Until(id, p, now, fixed)
	if le := l.find(id, p); le != nil {
		before, from := le.until, le.from
		le.from = now
		l.set(le, until)
		return func() {
			if l.find(id, p) == le {
				le.from = from
				l.set(le, before)
			}
		}
	}
	gone := l.surplus(id)
	for _, le := range gone {
		l.recordPast(le)
		l.drop(le)
	}
	le := &lease{client: id, peer: p, until: until, due: until, from: now, began: now, pending: pending}
	l.insert(le)
	return func() {
		if l.find(id, p) != le {
			return
		}
		l.drop(le)
		for _, g := range gone {
			if l.find(id, g.peer) == nil {
				l.insert(g)
			}
		}
	}
}

func (l *Leases) insert(le *lease) {
	l.byPeer[le.peer] = append(l.byPeer[le.peer], le)
	l.byClient[le.client] = append(l.byClient[le.client], le)
	if l.holds != nil && len(l.byClient[le.client]) == 1 {
		l.holds(le.client, true)
	}
	heap.Push(&l.byEnd, le)
	l.count.Add(1)
	l.addEnd(le, le.until)
}

func (l *Leases) set(le *lease, until time.Time) {
	l.removeEnd(le.until)
	l.addEnd(le, until)
	le.until, le.due = until, l.dueOf(le.kept, until)
	heap.Fix(&l.byEnd, le.index)
}

// Latest returns when the last lease of a peer ends; zero: it has none. Like Last,
// Peers and leaseOwners, it ignores pending leases.
func (l *Leases) Latest(p access.Peer) (until time.Time) {
	for _, le := range l.byPeer[p] {
		if !le.pending {
			until = later(until, le.until)
		}
	}
	return until
}

// leaseOwners returns the clients whose leases admit a peer; one entry more
// than access.MaxLeaseOwners means that there may be further ones. Those for any
// address admit anyone; all of them, if the service is open to anyone.
func (l *Leases) leaseOwners(p access.Peer, anyone bool) *access.LeaseOwners {
	var owners access.LeaseOwners
	of := l.byPeer[p]
	switch {
	case p.IsAnyone() && anyone:
		of = l.byEnd
	case p.IsAnyone():
		of = l.byPeer[access.AnyAddress]
	}
	for _, le := range of {
		if len(owners) > access.MaxLeaseOwners {
			break
		}
		if !le.pending {
			owners = append(owners, access.LeaseOwner{Client: le.client, Granted: le.from, Until: le.until, From: le.peer})
		}
	}
	return &owners
}

// Peers returns every peer with a lease.
func (l *Leases) Peers() (peers []access.Peer) {
	for p := range l.byPeer {
		if l.admits(p) {
			peers = append(peers, p)
		}
	}
	return peers
}

// admits reports whether a lease admits a peer, even one that has ended and that
// Expire has not removed.
func (l *Leases) admits(p access.Peer) bool {
	return slices.ContainsFunc(l.byPeer[p], func(le *lease) bool { return !le.pending })
}

// Last returns when the last of all leases ends; zero: there is none.
func (l *Leases) Last() time.Time {
	if l.stale {
		l.last, l.stale = time.Time{}, false
		for _, le := range l.byEnd {
			if !le.pending {
				l.last = later(l.last, le.until)
			}
		}
	}
	return l.last
}

// final returns when the last of all leases ends, pending ones too; zero: there is
// none.
func (l *Leases) final() (until time.Time) {
	for _, le := range l.byEnd {
		until = later(until, le.until)
	}
	return until
}

// Next returns when the first lease ends, or must be renewed; false if there is
// none.
func (l *Leases) Next() (next time.Time, ok bool) {
	if len(l.byEnd) == 0 {
		return next, false
	}
	return l.byEnd[0].due, true
}

// addClients adds the clients that have a lease, or had one whose connections
// may continue.
func (l *Leases) addClients(all map[wire.Identifier]bool) {
	for id := range l.byClient {
		all[id] = true
	}
	for id := range l.past {
		all[id] = true
	}
}

// all returns all leases.
func (l *Leases) all() (leases []ended) {
	for _, le := range l.byEnd {
		leases = append(leases, endedOf(le))
	}
	return leases
}

// SetTerms changes what later grants add.
func (l *Leases) SetTerms(openFor, openMax time.Duration, addresses int) {
	l.openFor, l.openMax, l.addresses = openFor, openMax, addresses
}

// Len returns the number of leases, including those that have ended and that
// Expire has not removed.
func (l *Leases) Len() int { return len(l.byEnd) }

// addEnd and removeEnd maintain the end of the last lease.
func (l *Leases) addEnd(le *lease, until time.Time) {
	if !le.pending && !until.Before(l.last) { // no lease was ever later
		l.last, l.stale = until, false
	}
}

func (l *Leases) removeEnd(until time.Time) { l.stale = l.stale || until.Equal(l.last) }

func (l *Leases) find(id wire.Identifier, p access.Peer) *lease {
	for _, le := range l.byClient[id] {
		if le.peer == p {
			return le
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
