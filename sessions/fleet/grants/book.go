package grants

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"sallyport/verify"
	"sallyport/verify/wire"
)

// book decides which grants of other gateways open, and which deletions close. Its methods
// are pure functions of what they got so far, and of now. It has an entry for each secret
// that had a grant lately, and for each key that has opened something.
type book struct {
	secrets map[secretOf]*entry
	clients map[wire.Identifier]*latest
	keys    map[grantKey][]opened // for each address one
	swept   time.Time
}

// secretOf is a client's secret: bases can be compared within it only.
type secretOf struct {
	client wire.Identifier
	secret verify.Fingerprint
}

// entry is the newest of a secret.
type entry struct {
	opened  [2]uint64     // by family: the highest base that has opened, plus 1
	from    [2]netip.Addr // for which address
	closed  uint64        // the highest base that has closed, plus 1
	forgets time.Time     // no earlier attempt can open anything from then on
}

// latest is the newest of a client, by timestamps, which the client's one clock makes:
// bases of two secrets, or of keys for two gateways, cannot be compared.
type latest struct {
	opened  [2]moment // by family
	closed  moment
	forgets time.Time
}

// moment is the timestamp of an attempt; zero: none.
type moment struct {
	secret verify.Fingerprint
	stamp  uint32
	from   netip.Addr // of an attempt that has opened
}

// raise takes a later attempt.
func (m *moment) raise(later moment) {
	if later.stamp >= m.stamp {
		*m = later
	}
}

// after reports whether the moment is that of another secret, and later than a timestamp.
func (m moment) after(secret verify.Fingerprint, stamp uint32) bool {
	return m.secret != secret && m.stamp > stamp
}

// opened is a grant of a key, which a deletion revokes. A client that moves has a newer
// grant for another address in the same key.
type opened struct {
	of      secretOf
	base    uint32
	stamp   uint32
	grant   sharedGrant
	forgets time.Time
}

// sharedGrant is what a grant opens.
type sharedGrant struct {
	address     netip.Addr
	differ      uint8
	from, until time.Time // of gate.SharedGrant
}

// limits are the settings of this gateway.
type limits struct {
	tolerance time.Duration
	longest   time.Duration // the longest open_for of the shared services that the client may open
}

func newBook() *book {
	return &book{secrets: map[secretOf]*entry{}, clients: map[wire.Identifier]*latest{}, keys: map[grantKey][]opened{}}
}

// consider returns what an authentic grant may do: Opened, Closed, or why not.
func (b *book) consider(v value, a verify.Attempt, l limits, now time.Time) Outcome {
	signed := time.Unix(int64(a.Timestamp()), 0)
	e := b.secrets[secretOf{a.Identifier(), a.Secret()}]
	if e == nil {
		e = &entry{}
	}
	c := b.clients[a.Identifier()]
	if c == nil {
		c = &latest{}
	}
	base := uint64(a.Base()) + 1
	switch {
	case signed.Sub(now) > 2*l.tolerance: // the client's clock, and that of the gateway
		return Future
	case v.closes && !closesUntil(v, a, l).After(now):
		return Ended
	case v.closes && (base <= max(e.closed, e.opened[ipv4], e.opened[ipv6]) ||
		c.opened[ipv4].after(a.Secret(), a.Timestamp()) || c.opened[ipv6].after(a.Secret(), a.Timestamp())):
		return Superseded
	case v.closes:
		return Closed
	case l.longest == 0:
		return NoService
	case !shared(v, a, l).ends(l).After(now):
		return Ended
	case base <= e.opened[slotOf(v.address)] || b.closed(a):
		return Superseded
	}
	return Opened
}

// closed reports whether the client has closed with a later attempt. Of another secret, one
// with the same timestamp counts as later.
func (b *book) closed(a verify.Attempt) bool {
	e, c := b.secrets[secretOf{a.Identifier(), a.Secret()}], b.clients[a.Identifier()]
	return e != nil && e.closed > uint64(a.Base()) ||
		c != nil && c.closed.stamp > 0 && c.closed.secret != a.Secret() && c.closed.stamp >= a.Timestamp()
}

// covered reports whether a later attempt of the client has opened for an address, so that
// the revocation of an earlier one must not end the lease. Only the address of the newest is
// known: after one for another address, the lease ends too early rather than too late.
func (b *book) covered(at slot, id wire.Identifier, secret verify.Fingerprint, base, stamp uint32, address netip.Addr) bool {
	e, c := b.secrets[secretOf{id, secret}], b.clients[id]
	return e != nil && e.opened[at] > uint64(base)+1 && e.from[at] == address ||
		c != nil && c.opened[at].after(secret, stamp) && c.opened[at].from == address
}

// closesUntil returns until when a closing key counts.
func closesUntil(v value, a verify.Attempt, l limits) time.Time {
	if end := closesAtMost(a, l); end.Before(v.end) {
		return end
	}
	return v.end
}

func closesAtMost(a verify.Attempt, l limits) time.Time {
	return time.Unix(int64(a.Timestamp()), 0).Add(l.tolerance + closingKept)
}

// shared returns what a grant opens. The gateway granted it at most the tolerance after
// its timestamp.
func shared(v value, a verify.Attempt, l limits) sharedGrant {
	from := time.Unix(int64(a.Timestamp()), 0).Add(l.tolerance)
	return sharedGrant{v.address, v.differ, from, v.end}
}

// ends returns when the last service closes that the grant has opened.
func (g sharedGrant) ends(l limits) time.Time {
	if end := g.from.Add(l.longest); end.Before(g.until) {
		return end
	}
	return g.until
}

// accept records a grant of a key of which consider returned Opened or Closed.
func (b *book) accept(k grantKey, v value, a verify.Attempt, l limits, now time.Time) sharedGrant {
	of := secretOf{a.Identifier(), a.Secret()}
	// The book forgets by the client's timestamp, not by the end of this value: another one
	// of an attempt may end later.
	if v.closes {
		b.local(of, closing, a.Base(), a.Timestamp(), netip.Addr{}, closesAtMost(a, l).Add(2*l.tolerance), now)
		return sharedGrant{}
	}
	g := shared(v, a, l)
	forgets := g.from.Add(l.longest + 2*l.tolerance)
	b.local(of, slotOf(v.address), a.Base(), a.Timestamp(), v.address, forgets, now)
	others := slices.DeleteFunc(b.keys[k], func(o opened) bool { return o.grant.address == v.address })
	b.keys[k] = append(others, opened{of, a.Base(), a.Timestamp(), g, forgets})
	return g
}

// local records what this gateway has granted or closed by itself: a closing key of
// another one that is older closes nothing. Address: for which the grant opened.
func (b *book) local(of secretOf, at slot, base, stamp uint32, address netip.Addr, forgets, now time.Time) {
	b.sweep(now)
	e, c := b.secrets[of], b.clients[of.client]
	if e == nil {
		e = &entry{}
		b.secrets[of] = e
	}
	if c == nil {
		c = &latest{}
		b.clients[of.client] = c
	}
	if at == closing {
		e.closed = max(e.closed, uint64(base)+1)
		c.closed.raise(moment{secret: of.secret, stamp: stamp})
	} else {
		if order := uint64(base) + 1; order > e.opened[at] {
			e.opened[at], e.from[at] = order, address
		}
		c.opened[at].raise(moment{of.secret, stamp, address})
	}
	e.forgets, c.forgets = latestOf(e.forgets, forgets), latestOf(c.forgets, forgets)
}

func latestOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// remove records that a key was deleted. It returns the grants that this revokes: those of
// all addresses for which the key has opened, unless their time is over, or a newer attempt
// has opened for the same address.
func (b *book) remove(k grantKey, l limits, now time.Time) (revoked []sharedGrant) {
	for _, o := range b.keys[k] {
		if o.grant.ends(l).After(now) && !b.covered(k.slot, o.of.client, o.of.secret, o.base, o.stamp, o.grant.address) {
			revoked = append(revoked, o.grant)
		}
	}
	delete(b.keys, k)
	return revoked
}

// sweepPause is the time between two sweeps.
const sweepPause = 10 * time.Second

// sweep forgets keys, secrets and clients whose attempts are over.
func (b *book) sweep(now time.Time) {
	if now.Sub(b.swept) < sweepPause && !now.Before(b.swept) {
		return
	}
	b.swept = now
	for k, list := range b.keys {
		b.keys[k] = slices.DeleteFunc(list, func(o opened) bool { return !o.forgets.After(now) })
	}
	maps.DeleteFunc(b.keys, func(_ grantKey, list []opened) bool { return len(list) == 0 })
	maps.DeleteFunc(b.secrets, func(_ secretOf, e *entry) bool { return !e.forgets.After(now) })
	maps.DeleteFunc(b.clients, func(_ wire.Identifier, c *latest) bool { return !c.forgets.After(now) })
}
