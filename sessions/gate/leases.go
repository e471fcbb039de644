package gate

import (
	"container/heap"
	"maps"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// lease lets the connections of one peer in until a time.
type lease struct {
	client wire.Identifier
	peer   access.Peer
	until  time.Time
	from   time.Time // of the last grant
	place  int       // in the heap
}

// Leases says which peers may come in. Its methods are pure functions of the
// grants so far and now. It is not safe for concurrent use.
type Leases struct {
	openFor, openMax time.Duration
	addresses        int
	byPeer           map[access.Peer][]*lease // one a client behind it
	byClient         map[wire.Identifier][]*lease
	past             map[wire.Identifier][]access.Peer // that had leases, the latest last
	ends             ends
	last             time.Time // when the last of all ends
	stale            bool      // the lease that last was of is gone
}

// NewLeases returns no leases. Each grant will add openFor to its lease; what
// is left of a lease never exceeds openMax. A client has leases for at most so
// many addresses: with one more, the lease that ends first gives way.
func NewLeases(openFor, openMax time.Duration, addresses int) *Leases {
	return &Leases{
		openFor: openFor, openMax: openMax, addresses: addresses,
		byPeer: map[access.Peer][]*lease{}, byClient: map[wire.Identifier][]*lease{},
		past: map[wire.Identifier][]access.Peer{},
	}
}

// Until returns when a grant of now would have the lease of a client and a
// peer end, and whether it would begin one. A fixed time, if not zero, is
// how long the lease is to last from now on, whatever grants add; a lease that
// lasts longer stays as it is.
func (l *Leases) Until(id wire.Identifier, p access.Peer, now time.Time, fixed time.Duration) (until time.Time, fresh bool) {
	from, fresh := now, true
	if le := l.find(id, p); le != nil && now.Before(le.until) {
		from, fresh = le.until, false
	}
	if fixed == 0 {
		return earlier(from.Add(l.openFor), now.Add(l.openMax)), fresh
	}
	until = earlier(now.Add(fixed), now.Add(l.openMax))
	if from.After(until) {
		until = from // not cut short, even by a maximum that has come since
	}
	return until, fresh
}

// GivesWay returns the peers whose leases end, if a client gets one for a peer.
func (l *Leases) GivesWay(id wire.Identifier, p access.Peer) (peers []access.Peer) {
	if l.find(id, p) != nil {
		return nil
	}
	for _, le := range l.surplus(id) {
		peers = append(peers, le.peer)
	}
	return peers
}

// surplus returns the leases of a client that leave no room for another: those
// that end first.
func (l *Leases) surplus(id wire.Identifier) []*lease {
	over := len(l.byClient[id]) - l.addresses + 1
	if over <= 0 {
		return nil
	}
	of := slices.SortedFunc(slices.Values(l.byClient[id]), func(a, b *lease) int { return a.until.Compare(b.until) })
	return of[:min(over, len(of))]
}

// Add begins or extends a lease, as Until says; GivesWay says which ones end.
// It can be undone, of several the last one first; what a later one has ended
// stays ended.
func (l *Leases) Add(id wire.Identifier, p access.Peer, now time.Time, fixed time.Duration) (undo func()) {
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
		l.remember(le)
		l.drop(le)
	}
	le := &lease{client: id, peer: p, until: until, from: now}
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
	heap.Push(&l.ends, le)
	l.reach(le.until)
}

func (l *Leases) set(le *lease, until time.Time) {
	l.leave(le.until)
	l.reach(until)
	le.until = until
	heap.Fix(&l.ends, le.place)
}

// Latest returns when the last lease of a peer ends; zero: it has none.
func (l *Leases) Latest(p access.Peer) (until time.Time) {
	for _, le := range l.byPeer[p] {
		until = later(until, le.until)
	}
	return until
}

// holdersOf returns by whose leases a peer is let in, or, with one more than
// access.MaxHolders, that it is by many. Anyone is let in by all of them.
func (l *Leases) holdersOf(p access.Peer) *access.Holders {
	var holders access.Holders
	of := l.byPeer[p]
	if p.IsAnyone() {
		of = l.ends
	}
	for _, le := range of[:min(len(of), access.MaxHolders+1)] {
		holders = append(holders, access.Holder{Client: le.client, Granted: le.from, Until: le.until, From: le.peer})
	}
	return &holders
}

// Peers returns every peer with a lease.
func (l *Leases) Peers() []access.Peer { return slices.Collect(maps.Keys(l.byPeer)) }

// Last returns when the last of all leases ends; zero: there is none.
func (l *Leases) Last() time.Time {
	if l.stale {
		l.last, l.stale = time.Time{}, false
		for _, le := range l.ends {
			l.last = later(l.last, le.until)
		}
	}
	return l.last
}

// Next returns the end of the lease that ends first; false if there is none.
func (l *Leases) Next() (next time.Time, ok bool) {
	if len(l.ends) == 0 {
		return next, false
	}
	return l.ends[0].until, true
}

// Expire forgets the leases that are over, and returns the peers that have none
// any more.
func (l *Leases) Expire(now time.Time) (over []access.Peer) {
	for len(l.ends) > 0 && !now.Before(l.ends[0].until) {
		le := l.ends[0]
		l.remember(le)
		if l.drop(le); len(l.byPeer[le.peer]) == 0 {
			over = append(over, le.peer)
		}
	}
	return over
}

// Remove ends the lease of a client and a peer, and returns whether there was
// one.
func (l *Leases) Remove(id wire.Identifier, p access.Peer) bool {
	le := l.find(id, p)
	if le == nil {
		return false
	}
	l.remember(le)
	l.drop(le)
	return true
}

// Keep ends the leases of all clients but those that stay, and returns their
// peers, with those of which a lease of theirs has ended before: as many of the
// latest as a client may have at a time.
func (l *Leases) Keep(stays func(wire.Identifier) bool) (ended []access.Peer) {
	for id, of := range l.byClient {
		if stays(id) {
			continue
		}
		for _, le := range slices.Clone(of) {
			ended = append(ended, le.peer)
			l.drop(le)
		}
	}
	for id, peers := range l.past {
		if !stays(id) {
			ended = append(ended, peers...)
			delete(l.past, id)
		}
	}
	return ended
}

// remember keeps the peer of a lease that ends: what was connected by it may
// live on, but not longer than its client may.
func (l *Leases) remember(le *lease) {
	past := slices.DeleteFunc(l.past[le.client], func(p access.Peer) bool { return p == le.peer })
	past = append(past, le.peer)
	l.past[le.client] = past[max(len(past)-l.addresses, 0):]
}

// holders adds the clients that have a lease, or had one by which something may
// be connected.
func (l *Leases) holders(all map[wire.Identifier]bool) {
	for id := range l.byClient {
		all[id] = true
	}
	for id := range l.past {
		all[id] = true
	}
}

// SetTerms changes what grants add from now on.
func (l *Leases) SetTerms(openFor, openMax time.Duration, addresses int) {
	l.openFor, l.openMax, l.addresses = openFor, openMax, addresses
}

// Len returns the number of leases, those that are over and not yet forgotten
// included.
func (l *Leases) Len() int { return len(l.ends) }

// reach and leave keep account of the end of the last lease.
func (l *Leases) reach(until time.Time) {
	if !until.Before(l.last) { // none was ever later than that
		l.last, l.stale = until, false
	}
}

func (l *Leases) leave(until time.Time) { l.stale = l.stale || until.Equal(l.last) }

func (l *Leases) find(id wire.Identifier, p access.Peer) *lease {
	for _, le := range l.byClient[id] {
		if le.peer == p {
			return le
		}
	}
	return nil
}

func (l *Leases) drop(le *lease) {
	l.leave(le.until)
	heap.Remove(&l.ends, le.place)
	without(l.byPeer, le.peer, le)
	without(l.byClient, le.client, le)
}

func without[K comparable](m map[K][]*lease, k K, le *lease) {
	if left := slices.DeleteFunc(m[k], func(of *lease) bool { return of == le }); len(left) == 0 {
		delete(m, k)
	} else {
		m[k] = left
	}
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
