package sessions

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// pendingGrant is a grant whose entry is not recorded yet.
type pendingGrant struct {
	grant Grant
	entry Entry
	// closedFrom is the address of a closing attempt before the grant: all that the client
	// has ends first. Invalid: there was none.
	closedFrom netip.Addr
	closedBy   Attempt // of closedFrom
	// empty: nothing opens, as after a closing attempt, or since the grant was superseded.
	empty bool
	taken int64 // when the last knock was in the shard's queue, in nanoseconds of clock.Boot
}

// closesFirst reports whether the closing attempt before the grant is another one than that
// of the entry. It needs another entry: other gateways of a fleet carry it out only if
// its nonces are recorded.
func (p *pendingGrant) closesFirst() bool {
	return p.closedFrom.IsValid() && p.closedBy.Count > 0 && p.closedBy.Secret == p.entry.Secret && p.closedBy.Base != p.entry.Base
}

// closingEntry returns that entry. The nonces used so far are those of the later one.
func (p *pendingGrant) closingEntry() Entry {
	e := p.entry
	e.Base, e.Count, e.Stamp = p.closedBy.Base, p.closedBy.Count, p.closedBy.Timestamp
	return e
}

// grantQueue holds the grants of a shard that the recorder has not taken yet: at
// most one for each client and address family. A newer grant replaces the one
// before, at its position, unless it opens less; the newer entry does so always. So the
// number of clients bounds the length, and the delay of a client by the others. The shard puts, the recorder takes.
type grantQueue struct {
	mu       sync.Mutex
	round    uint64 // counts the lists; the first is 1
	list     []pendingGrant
	previous []pendingGrant // the list before, which the recorder reads
	waiting  atomic.Int64   // the length of list
}

// queuePosition is the position of a client's pending grant in a list.
type queuePosition struct {
	round uint64 // of the list; if it is not the current one, there is no pending grant
	at    uint32
}

// maxKeptCapacity is the maximum capacity with which a list is used again.
const maxKeptCapacity = 4096

func newGrantQueue() *grantQueue { return &grantQueue{round: 1} }

// put adds a client's grant, and returns how many older ones it has replaced. The
// positions are the client's, one for each address family. An attempt that closes
// replaces the grants of both families, and takes the first of their places: later grants
// of the client are behind it, or in its own place.
func (q *grantQueue) put(positions *[2]queuePosition, p pendingGrant) (superseded int) {
	own := &positions[family(p.grant.Address)]
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.closedFrom.IsValid() {
		superseded, own = q.clear(positions, own)
	}
	waits := q.pending(own)
	if waits == nil {
		*own = queuePosition{q.round, uint32(len(q.list))}
		q.list = append(q.list, p)
		q.waiting.Store(int64(len(q.list)))
		return superseded
	}
	if !waits.empty {
		superseded++
		if waits.grant.opensMore(p.grant) {
			p.grant = waits.grant
			if p.entry.Secret != waits.entry.Secret {
				p.entry = waits.entry
			}
			p.entry.Base, p.entry.Count = waits.entry.Base, waits.entry.Count // of the attempt that opens
		}
	}
	if !p.closedFrom.IsValid() {
		p.closedFrom, p.closedBy = waits.closedFrom, waits.closedBy
	}
	*waits = p
	return superseded
}

// clear empties the grants of a client, and returns how many would have opened, and the
// first of their positions; own: there are none.
func (q *grantQueue) clear(positions *[2]queuePosition, own *queuePosition) (opening int, first *queuePosition) {
	for i := range positions {
		waits := q.pending(&positions[i])
		if waits == nil {
			continue
		}
		if !waits.empty {
			opening++
		}
		waits.empty, waits.closedFrom = true, netip.Addr{}
		if first == nil || positions[i].at < first.at {
			first = &positions[i]
		}
	}
	if first == nil {
		first = own
	}
	return opening, first
}

// pending returns the grant at a position; nil: there is none.
func (q *grantQueue) pending(at *queuePosition) *pendingGrant {
	if at.round != q.round {
		return nil
	}
	return &q.list[at.at]
}

// take removes and returns all pending grants. The list is valid until the next
// take.
func (q *grantQueue) take() []pendingGrant {
	q.mu.Lock()
	defer q.mu.Unlock()
	empty := q.previous[:0]
	if cap(empty) > maxKeptCapacity {
		empty = nil
	}
	q.previous, q.list = q.list, empty
	q.waiting.Store(0)
	q.round++
	return q.previous
}

// opensMore reports whether each service that another grant opens would be opened by
// this one, for the same prefix: the other's knocks came from more addresses, of which
// this one's is one.
func (g Grant) opensMore(other Grant) bool {
	if other.Differ <= g.Differ {
		return false
	}
	all, err := other.Address.Prefix(other.Address.BitLen() - int(other.Differ))
	return err == nil && all.Contains(g.Address)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}
