package gate

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"sallyport/verify/wire"
)

// lease lets the connections of one address in until a time.
type lease struct {
	client  wire.Identifier
	address netip.Addr
	until   time.Time
	place   int // in the heap
}

// Leases says which addresses may come in. Its methods are pure functions of
// the grants so far and now. It is not safe for concurrent use.
type Leases struct {
	openFor, openMax time.Duration
	addresses        int
	byAddress        map[netip.Addr][]*lease // one a client behind the address
	byClient         map[wire.Identifier][]*lease
	past             map[wire.Identifier][]netip.Addr // that had leases, the latest last
	ends             ends
}

// NewLeases returns no leases. Each grant will add openFor to its lease; what
// is left of a lease never exceeds openMax. A client has leases for so many
// addresses at the most: with one more, the lease that ends first gives way.
func NewLeases(openFor, openMax time.Duration, addresses int) *Leases {
	return &Leases{
		openFor: openFor, openMax: openMax, addresses: addresses,
		byAddress: map[netip.Addr][]*lease{}, byClient: map[wire.Identifier][]*lease{},
		past: map[wire.Identifier][]netip.Addr{},
	}
}

// Until returns when a grant of now would have the lease of a client and an
// address end, and whether it would begin one. A fixed time, if not zero, is
// how long the lease is to last from now on, whatever grants add; a lease that
// lasts longer stays as it is.
func (l *Leases) Until(id wire.Identifier, a netip.Addr, now time.Time, fixed time.Duration) (until time.Time, fresh bool) {
	from, fresh := now, true
	if le := l.find(id, a); le != nil && now.Before(le.until) {
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

// Add begins or extends a lease, as Until tells. It returns the addresses of
// the client whose leases gave way.
func (l *Leases) Add(id wire.Identifier, a netip.Addr, now time.Time, fixed time.Duration) (displaced []netip.Addr) {
	until, _ := l.Until(id, a, now, fixed)
	if le := l.find(id, a); le != nil {
		le.until = until
		heap.Fix(&l.ends, le.place)
		return nil
	}
	for len(l.byClient[id]) >= l.addresses {
		first := slices.MinFunc(l.byClient[id], func(a, b *lease) int { return a.until.Compare(b.until) })
		displaced = append(displaced, first.address)
		l.remember(first)
		l.drop(first)
	}
	le := &lease{client: id, address: a, until: until}
	l.byAddress[a] = append(l.byAddress[a], le)
	l.byClient[id] = append(l.byClient[id], le)
	heap.Push(&l.ends, le)
	return displaced
}

// Latest returns when the last lease of an address ends; false if it has none.
func (l *Leases) Latest(a netip.Addr) (until time.Time, ok bool) {
	for _, le := range l.byAddress[a] {
		if le.until.After(until) {
			until, ok = le.until, true
		}
	}
	return until, ok
}

// All returns every address with a lease, and when its last one ends.
func (l *Leases) All() map[netip.Addr]time.Time {
	all := make(map[netip.Addr]time.Time, len(l.byAddress))
	for a := range l.byAddress {
		all[a], _ = l.Latest(a)
	}
	return all
}

// Next returns the end of the lease that ends first; false if there is none.
func (l *Leases) Next() (next time.Time, ok bool) {
	if len(l.ends) == 0 {
		return next, false
	}
	return l.ends[0].until, true
}

// Expire forgets the leases that are over, and returns their addresses.
func (l *Leases) Expire(now time.Time) (over []netip.Addr) {
	for len(l.ends) > 0 && !now.Before(l.ends[0].until) {
		over = append(over, l.ends[0].address)
		l.remember(l.ends[0])
		l.drop(l.ends[0])
	}
	return over
}

// Remove ends the lease of a client and an address, and returns whether there
// was one.
func (l *Leases) Remove(id wire.Identifier, a netip.Addr) bool {
	le := l.find(id, a)
	if le == nil {
		return false
	}
	l.remember(le)
	l.drop(le)
	return true
}

// Keep ends the leases of all clients but those that stay, and returns their
// addresses, with those of which a lease of theirs has ended before: as many of
// the latest as a client may have at a time.
func (l *Leases) Keep(stays func(wire.Identifier) bool) (ended []netip.Addr) {
	for id, of := range l.byClient {
		if stays(id) {
			continue
		}
		for _, le := range slices.Clone(of) {
			ended = append(ended, le.address)
			l.drop(le)
		}
	}
	for id, addresses := range l.past {
		if !stays(id) {
			ended = append(ended, addresses...)
			delete(l.past, id)
		}
	}
	return ended
}

// remember keeps the address of a lease that ends: what was connected by it may
// live on, but not longer than its client may.
func (l *Leases) remember(le *lease) {
	past := slices.DeleteFunc(l.past[le.client], func(a netip.Addr) bool { return a == le.address })
	past = append(past, le.address)
	l.past[le.client] = past[max(len(past)-l.addresses, 0):]
}

// SetTerms changes what grants add from now on.
func (l *Leases) SetTerms(openFor, openMax time.Duration, addresses int) {
	l.openFor, l.openMax, l.addresses = openFor, openMax, addresses
}

// Len returns the number of leases, those that are over and not yet forgotten
// included.
func (l *Leases) Len() int { return len(l.ends) }

func (l *Leases) find(id wire.Identifier, a netip.Addr) *lease {
	for _, le := range l.byClient[id] {
		if le.address == a {
			return le
		}
	}
	return nil
}

func (l *Leases) drop(le *lease) {
	heap.Remove(&l.ends, le.place)
	without(l.byAddress, le.address, le)
	without(l.byClient, le.client, le)
}

func without[K comparable](m map[K][]*lease, k K, le *lease) {
	if left := slices.DeleteFunc(m[k], func(of *lease) bool { return of == le }); len(left) == 0 {
		delete(m, k)
	} else {
		m[k] = left
	}
}

// ends is a heap: the lease that ends first comes first.
type ends []*lease

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].until.Before(e[j].until) }
func (e ends) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].place, e[j].place = i, j
}

func (e *ends) Push(x any) {
	le := x.(*lease)
	le.place = len(*e)
	*e = append(*e, le)
}

func (e *ends) Pop() any {
	last := len(*e) - 1
	le := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return le
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
