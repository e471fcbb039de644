package state

import (
	"slices"
	"sync"

	"sallyport/verify/wire"
)

// leaseTable is all leases that are kept. What is on disk follows it.
type leaseTable struct {
	mu    sync.Mutex
	of    map[wire.Identifier][]Lease
	count int
}

// reset has the table hold just these.
func (t *leaseTable) reset(leases []Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of, t.count = map[wire.Identifier][]Lease{}, 0
	for _, l := range leases {
		t.set(l)
	}
}

// put keeps leases, and returns those that had to give way: of a client with
// MaxClientLeases the one that ends, or ended, first; with MaxLeases of all,
// also one of the same client, or if it has none, the first of all. Of begun
// nothing was kept before.
func (t *leaseTable) put(leases []Lease) (begun, displaced []Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range leases {
		if t.set(l) {
			begun = append(begun, l)
		}
	}
	for _, l := range begun {
		for len(t.of[l.Client]) > MaxClientLeases || t.count > MaxLeases {
			first := t.first(l)
			t.drop(first.id())
			displaced = append(displaced, first)
		}
	}
	return begun, displaced
}

// set returns whether the lease is a new one.
func (t *leaseTable) set(l Lease) bool {
	of := t.of[l.Client]
	if i := place(of, l.id()); i >= 0 {
		of[i] = l
		return false
	}
	t.of[l.Client] = append(of, l)
	t.count++
	return true
}

// first returns the lease that gives way to one that was put.
func (t *leaseTable) first(put Lease) (first Lease) {
	found := false
	look := func(of []Lease) {
		for _, l := range of {
			if l.id() != put.id() && (!found || l.Until.Before(first.Until)) {
				first, found = l, true
			}
		}
	}
	if look(t.of[put.Client]); !found {
		for _, of := range t.of {
			look(of)
		}
	}
	return first
}

// remove returns those that were kept.
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
	of := t.of[id.client]
	i := place(of, id)
	if i < 0 {
		return false
	}
	if of = slices.Delete(of, i, i+1); len(of) == 0 {
		delete(t.of, id.client)
	} else {
		t.of[id.client] = of
	}
	t.count--
	return true
}

func (t *leaseTable) get(id leaseID) (Lease, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.of[id.client]
	if i := place(of, id); i >= 0 {
		return of[i], true
	}
	return Lease{}, false
}

func (t *leaseTable) all() (leases []Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, of := range t.of {
		leases = append(leases, of...)
	}
	sortLeases(leases)
	return leases
}

func place(of []Lease, id leaseID) int {
	return slices.IndexFunc(of, func(l Lease) bool { return l.id() == id })
}
