package gate

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

// maxAddresses is how many addresses a client may have open at a time. With
// one more, the lease that ends first gives way.
const maxAddresses = 8

// lease lets the connections of one address in until a time.
type lease struct {
	client wire.Identifier
	until  time.Time
}

// Leases says which addresses may come in. Its methods are pure functions of
// the grants so far and now. It is not safe for concurrent use.
type Leases struct {
	openFor, openMax time.Duration
	byAddress        map[netip.Addr][]lease // one a client behind the address
	byClient         map[wire.Identifier][]netip.Addr
	n                int
}

// NewLeases returns no leases. Each grant will add openFor to its lease; what
// is left of a lease never exceeds openMax.
func NewLeases(openFor, openMax time.Duration) *Leases {
	return &Leases{
		openFor: openFor, openMax: openMax,
		byAddress: map[netip.Addr][]lease{}, byClient: map[wire.Identifier][]netip.Addr{},
	}
}

// Add begins or extends the lease of the grant's client and address. It
// returns the lease's end, and whether it begins with this grant.
func (l *Leases) Add(g sessions.Grant, now time.Time) (until time.Time, fresh bool) {
	of := l.byAddress[g.Address]
	for i := range of {
		if le := &of[i]; le.client == g.Identifier {
			if fresh = !now.Before(le.until); fresh {
				le.until = now
			}
			le.until = earlier(le.until.Add(l.openFor), now.Add(l.openMax))
			return le.until, fresh
		}
	}
	if len(l.byClient[g.Identifier]) == maxAddresses {
		l.displace(g.Identifier)
	}
	until = earlier(now.Add(l.openFor), now.Add(l.openMax))
	l.byAddress[g.Address] = append(l.byAddress[g.Address], lease{g.Identifier, until})
	l.byClient[g.Identifier] = append(l.byClient[g.Identifier], g.Address)
	l.n++
	return until, true
}

// Allows reports whether connections of an address may come in.
func (l *Leases) Allows(a netip.Addr, now time.Time) bool {
	return slices.ContainsFunc(l.byAddress[a], func(le lease) bool { return now.Before(le.until) })
}

// Next returns the end of the lease that ends first; false if there is none.
func (l *Leases) Next() (next time.Time, ok bool) {
	for _, of := range l.byAddress {
		for _, le := range of {
			if !ok || le.until.Before(next) {
				next, ok = le.until, true
			}
		}
	}
	return next, ok
}

// Any reports whether at least one lease runs.
func (l *Leases) Any(now time.Time) bool {
	for a := range l.byAddress {
		if l.Allows(a, now) {
			return true
		}
	}
	return false
}

// Expire forgets the leases that are over, and returns how many there were.
func (l *Leases) Expire(now time.Time) (expired int) {
	for a, of := range l.byAddress {
		expired += l.drop(a, of, func(le lease) bool { return !now.Before(le.until) })
	}
	return expired
}

// Keep ends the leases of all clients but those that stay.
func (l *Leases) Keep(stays func(wire.Identifier) bool) (ended int) {
	for a, of := range l.byAddress {
		ended += l.drop(a, of, func(le lease) bool { return !stays(le.client) })
	}
	return ended
}

// SetTerms changes what grants add from now on.
func (l *Leases) SetTerms(openFor, openMax time.Duration) { l.openFor, l.openMax = openFor, openMax }

// Len returns the number of leases, those that are over and not yet forgotten
// included.
func (l *Leases) Len() int { return l.n }

// displace ends the lease of a client that would end first.
func (l *Leases) displace(id wire.Identifier) {
	var first netip.Addr
	var until time.Time
	for _, a := range l.byClient[id] {
		of := l.byAddress[a]
		le := of[slices.IndexFunc(of, func(le lease) bool { return le.client == id })]
		if !first.IsValid() || le.until.Before(until) {
			first, until = a, le.until
		}
	}
	l.drop(first, l.byAddress[first], func(le lease) bool { return le.client == id })
}

func (l *Leases) drop(a netip.Addr, of []lease, over func(lease) bool) (dropped int) {
	kept := slices.DeleteFunc(of, func(le lease) bool {
		if !over(le) {
			return false
		}
		dropped++
		at := slices.DeleteFunc(l.byClient[le.client], func(held netip.Addr) bool { return held == a })
		if len(at) == 0 {
			delete(l.byClient, le.client)
		} else {
			l.byClient[le.client] = at
		}
		return true
	})
	l.n -= dropped
	if len(kept) == 0 {
		delete(l.byAddress, a)
	} else {
		l.byAddress[a] = kept
	}
	return dropped
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
