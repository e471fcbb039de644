package sessions

import (
	"net/netip"
	"sync"
)

// pending is a grant that waits for its entry to be recorded.
type pending struct {
	grant Grant
	entry Entry
}

// waiting is the grants of a shard that the recorder has not taken yet: at most
// one a client and address family, the newest, in the place of the oldest. So
// its length is bounded by the clients, and no client delays another by more
// than that. The shard puts, the recorder takes.
type waiting struct {
	mu    sync.Mutex
	round uint64 // counts the lists; the first is 1
	list  []pending
	taken []pending // the list before, which the recorder has
}

// spot is where a client's pending grants of both families are in a list.
type spot struct {
	round uint64 // of the list; another than the current one: nowhere
	at    uint32
}

// keepRoom is how much room a list keeps that was longer once.
const keepRoom = 4096

func newWaiting() *waiting { return &waiting{round: 1} }

// put adds a client's grant, and reports whether it took the place of an older
// one.
func (w *waiting) put(s *[2]spot, p pending) (superseded bool) {
	own := &s[family(p.grant.Address)]
	w.mu.Lock()
	defer w.mu.Unlock()
	if own.round == w.round {
		w.list[own.at] = p
		return true
	}
	*own = spot{w.round, uint32(len(w.list))}
	w.list = append(w.list, p)
	return false
}

// take returns all that waits, in a list that is valid until the next take.
func (w *waiting) take() []pending {
	w.mu.Lock()
	defer w.mu.Unlock()
	room := w.taken[:0]
	if cap(room) > keepRoom {
		room = nil
	}
	w.taken, w.list = w.list, room
	w.round++
	return w.taken
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}
