package access

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/verify/wire"
)

// MaxLeaseOwners is how many clients a connection may belong to. One that more could
// have opened belongs to all clients.
const MaxLeaseOwners = 8

// LeaseOwner is a client with a lease that lets a peer in.
type LeaseOwner struct {
	Client  wire.Identifier
	Granted time.Time // when it was last let in
	Until   time.Time
	From    Peer // whom the lease is for: of a service that is open to anyone, who has opened it
}

// LeaseOwners are by whose leases a peer is let in: MaxLeaseOwners and one more stand for
// any number.
type LeaseOwners []LeaseOwner

// Owners are the clients that may have opened a connection: one, if it can be
// told. The zero value is nobody.
type Owners struct {
	ids []wire.Identifier
	all bool
}

// Lose reports whether a connection of these owners ends, since the clients that
// are gone have no right to it any more. Some says that there are such clients: a
// connection that may be anyone's may be theirs.
func (o Owners) Lose(gone func(wire.Identifier) bool, some bool) bool {
	return o.all && some || slices.ContainsFunc(o.ids, gone)
}

// Each calls f with each client, if they are known.
func (o Owners) Each(f func(wire.Identifier)) {
	for _, id := range o.ids {
		f(id)
	}
}

// Enter is Allows for an address that comes in now, and says to whom what it
// opens belongs: to the client whose lease lets it in. If several clients have a
// lease for the address, it is the one that was granted last, since clients connect
// after they have knocked. But a grant counts so for one connection: of another one
// it cannot be told, and it belongs to all of them, and ends with the first that is
// revoked.
func (s *Set) Enter(a netip.Addr, now time.Time) (o Owners, ok bool) {
	var owners []LeaseOwner
	used, peers := now, peersOf(a)
	for _, p := range peers {
		m := s.of[p]
		if !now.Before(m.until) {
			continue
		}
		if ok = true; used.After(m.used) {
			used = m.used
		}
		m.used = now
		s.of[p] = m
		if m.owners != nil {
			owners = append(owners, *m.owners...)
		}
	}
	owners = slices.DeleteFunc(owners, func(h LeaseOwner) bool { return !now.Before(h.Until) })
	owners = narrowed(owners, func(h LeaseOwner) bool { return slices.Contains(peers[:], h.From) })
	var last time.Time
	for _, h := range owners {
		if h.Granted.After(used) && h.Granted.After(last) {
			last = h.Granted
		}
	}
	owners = narrowed(owners, func(h LeaseOwner) bool { return h.Granted.Equal(last) })
	for _, h := range owners {
		if !slices.Contains(o.ids, h.Client) {
			o.ids = append(o.ids, h.Client)
		}
	}
	if len(o.ids) > MaxLeaseOwners {
		o = Owners{all: true}
	}
	return o, ok
}

// narrowed returns the owners of which something is true, or all if it is of
// none.
func narrowed(all []LeaseOwner, is func(LeaseOwner) bool) []LeaseOwner {
	if some := slices.DeleteFunc(slices.Clone(all), func(h LeaseOwner) bool { return !is(h) }); len(some) > 0 {
		return some
	}
	return all
}
