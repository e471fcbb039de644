package sessions

import (
	"net/netip"
	"sync"
)

// pendingGrant is a grant whose entry is not recorded yet.
type pendingGrant struct {
	grant Grant
	entry Entry
}

// grantQueue holds the grants of a shard that the recorder has not taken yet: at
// most one for each client and address family. A newer grant replaces the one
// before, at its position, unless it opens less; the newer entry does so always. So the number of clients bounds the length, and the
// delay of a client by the others. The shard puts, the recorder takes.
type grantQueue struct {
	mu       sync.Mutex
	round    uint64 // counts the lists; the first is 1
	list     []pendingGrant
	previous []pendingGrant // the list before, which the recorder reads
}

// queuePosition is the position of a client's pending grant in a list.
type queuePosition struct {
	round uint64 // of the list; if it is not the current one, there is no pending grant
	at    uint32
}

// maxKeptCapacity is the maximum capacity with which a list is used again.
const maxKeptCapacity = 4096

func newGrantQueue() *grantQueue { return &grantQueue{round: 1} }

// put adds a client's grant, and reports whether it replaced an older one. The
// positions are the client's, one for each address family.
func (q *grantQueue) put(positions *[2]queuePosition, p pendingGrant) (superseded bool) {
	position := &positions[family(p.grant.Address)]
	q.mu.Lock()
	defer q.mu.Unlock()
	if position.round == q.round {
		if waits := &q.list[position.at]; waits.grant.opensMore(p.grant) {
			p.grant = waits.grant
		}
		q.list[position.at] = p
		return true
	}
	*position = queuePosition{q.round, uint32(len(q.list))}
	q.list = append(q.list, p)
	return false
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
