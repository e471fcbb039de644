package gate

import (
	"container/heap"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// Expire removes the leases that have ended, with kept ones that were not renewed
// in time. It returns the peers that no longer have a lease, and the removed leases.
func (l *Leases) Expire(now time.Time) (over []access.Peer, gone []ended) {
	for len(l.byEnd) > 0 && !now.Before(l.byEnd[0].due) {
		le := l.byEnd[0]
		if now.Before(le.until) { // kept, and not renewed: it is due again at its end
			l.postpone(le, le.until)
			continue
		}
		l.recordPast(le)
		if l.drop(le); !le.pending && !l.admits(le.peer) {
			over = append(over, le.peer)
		}
		gone = append(gone, endedOf(le))
	}
	return over, gone
}

// Remove ends the lease of a client and a peer, and returns whether there was
// one.
func (l *Leases) Remove(id wire.Identifier, p access.Peer) bool {
	_, some := l.remove(id, p)
	return some
}

func (l *Leases) remove(id wire.Identifier, p access.Peer) (gone ended, some bool) {
	le := l.find(id, p)
	if le == nil {
		return gone, false
	}
	l.recordPast(le)
	l.drop(le)
	return endedOf(le), true
}

// RevokeExcept ends the leases of all clients except those that stay. It returns
// their peers with the peers of earlier leases, as many of the latest as a client
// may have at a time, and the ended leases.
func (l *Leases) RevokeExcept(stays func(wire.Identifier) bool) (peers []access.Peer, gone []ended) {
	for id, of := range l.byClient {
		if stays(id) {
			continue
		}
		for _, le := range slices.Clone(of) {
			if gone = append(gone, endedOf(le)); !le.pending {
				peers = append(peers, le.peer)
			}
			l.drop(le)
		}
	}
	for id, past := range l.past {
		if !stays(id) {
			peers = append(peers, past...)
			delete(l.past, id)
		}
	}
	return peers, gone
}

// recordPast records the peer of a lease that ends: its connections may
// continue, but only as long as the client is not revoked.
func (l *Leases) recordPast(le *lease) {
	if le.pending {
		return
	}
	peer := le.peer.Source() // connections show addresses only
	past := slices.DeleteFunc(l.past[le.client], func(p access.Peer) bool { return p == peer })
	past = append(past, peer)
	l.past[le.client] = past[max(len(past)-l.addresses, 0):]
}

func (l *Leases) drop(le *lease) {
	l.removeEnd(le.until)
	heap.Remove(&l.byEnd, le.index)
	l.count.Add(-1)
	removeFrom(l.byPeer, le.peer, le)
	removeFrom(l.byClient, le.client, le)
	if l.holds != nil && len(l.byClient[le.client]) == 0 {
		l.holds(le.client, false)
	}
}

func removeFrom[K comparable](m map[K][]*lease, k K, le *lease) {
	if left := slices.DeleteFunc(m[k], func(of *lease) bool { return of == le }); len(left) == 0 {
		delete(m, k)
	} else {
		m[k] = left
	}
}
