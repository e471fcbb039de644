package state

import (
	"slices"
	"sync"

	"sallyport/verify/wire"
)

// leaseTable holds all stored leases. The file is updated from it.
type leaseTable struct {
	mu       sync.Mutex
	byClient map[wire.Identifier][]Lease
	count    int
}

// reset replaces the content of the table.
func (t *leaseTable) reset(leases []Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byClient, t.count = map[wire.Identifier][]Lease{}, 0
	for _, l := range leases {
		t.set(l)
	}
}

// put stores leases. It returns the added ones, which were not stored before, and
// the displaced ones, which it removed to stay within the limits. If a client has
// MaxClientLeases, or if there are MaxLeases, the lease of the same client that
// ends, or ended, first is displaced; if the client has no other, the one of all
// clients that ends first.
func (t *leaseTable) put(leases []Lease) (added, displaced []Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range leases {
		if t.set(l) {
			added = append(added, l)
		}
	}
	for _, l := range added {
		for len(t.byClient[l.Client]) > MaxClientLeases || t.count > MaxLeases {
			first := t.firstToEnd(l)
			t.drop(first.id())
			displaced = append(displaced, first)
		}
	}
	return added, displaced
}

// set stores a lease, and reports whether it is new.
func (t *leaseTable) set(l Lease) bool {
	of := t.byClient[l.Client]
	if i := indexOf(of, l.id()); i >= 0 {
		of[i] = l
		return false
	}
	t.byClient[l.Client] = append(of, l)
	t.count++
	return true
}

// firstToEnd returns the lease that is displaced by an added one.
func (t *leaseTable) firstToEnd(added Lease) (first Lease) {
	found := false
	search := func(leases []Lease) {
		for _, l := range leases {
			if l.id() != added.id() && (!found || l.Until.Before(first.Until)) {
				first, found = l, true
			}
		}
	}
	search(t.byClient[added.Client])
	if !found {
		for _, leases := range t.byClient {
			search(leases)
		}
	}
	return first
}

// remove removes leases, and returns those that were stored.
func (t *leaseTable) remove(leases []Lease) (gone []Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range leases {
		if t.drop(l.id()) {
			gone = append(gone, l)
		}
	}
	return gone
}

func (t *leaseTable) drop(id leaseID) bool {
	of := t.byClient[id.client]
	i := indexOf(of, id)
	if i < 0 {
		return false
	}
	if of = slices.Delete(of, i, i+1); len(of) == 0 {
		delete(t.byClient, id.client)
	} else {
		t.byClient[id.client] = of
	}
	t.count--
	return true
}

func (t *leaseTable) get(id leaseID) (Lease, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.byClient[id.client]
	if i := indexOf(of, id); i >= 0 {
		return of[i], true
	}
	return Lease{}, false
}

func (t *leaseTable) all() (leases []Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, of := range t.byClient {
		leases = append(leases, of...)
	}
	sortLeases(leases)
	return leases
}

func indexOf(of []Lease, id leaseID) int {
	return slices.IndexFunc(of, func(l Lease) bool { return l.id() == id })
}
