package access

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/verify/wire"
)

// MaxLeaseOwners is the number of clients that a connection may belong to. A
// connection with more possible owners belongs to all clients.
const MaxLeaseOwners = 8

// LeaseOwner is a client with a lease that admits a peer.
type LeaseOwner struct {
	Client  wire.Identifier
	Granted time.Time // time of its last grant
	Until   time.Time
	From    Peer // the peer that the lease is for: for a service that is open to anyone, the peer that opened it
}

// LeaseOwners are the clients whose leases admit a peer: MaxLeaseOwners and one
// more stand for any number.
type LeaseOwners []LeaseOwner

// Owners are the clients that may have opened a connection: one, if it is
// known. The zero value is no client.
type Owners struct {
	ids []wire.Identifier
	all bool
}

// OwnedBy returns the owners of a connection that is known to be of one of these clients.
func OwnedBy(clients ...wire.Identifier) Owners { return Owners{ids: slices.Clone(clients)} }

// Known reports whether Each has all owners, and there are some.
func (o Owners) Known() bool { return !o.all && len(o.ids) > 0 }

// Lose reports whether a connection of these owners ends because the clients
// that are gone have lost the right to it. someGone reports that there are such
// clients: a connection that may be of any client may be theirs.
func (o Owners) Lose(gone func(wire.Identifier) bool, someGone bool) bool {
	return o.all && someGone || slices.ContainsFunc(o.ids, gone)
}

// Each calls f with each client, if they are known.
func (o Owners) Each(f func(wire.Identifier)) {
	for _, id := range o.ids {
		f(id)
	}
}

// String returns the identifiers, separated by commas.
func (o Owners) String() string {
	names := make([]string, len(o.ids))
	for i, id := range o.ids {
		names[i] = id.String()
	}
	return strings.Join(names, ",")
}

// Enter is Allows for an address that connects now. It also returns the owners
// of the connection: the client whose lease admits it. If several clients have
// a lease for the address, the owner is the client of the last grant, since
// clients connect after they have knocked. But a grant identifies the owner of
// one connection only: a further connection may be of any of these clients, so
// it belongs to all of them, and ends with the first that is revoked.
func (s *Set) Enter(a netip.Addr, now time.Time) (o Owners, ok bool) {
	var owners []LeaseOwner
	used := now
	for p := range s.peersOf(a) {
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
	owners = narrowed(owners, func(h LeaseOwner) bool { return h.From.Has(a) })
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

// narrowed returns the lease owners for which is returns true, or all of them
// if it does so for none.
func narrowed(all []LeaseOwner, is func(LeaseOwner) bool) []LeaseOwner {
	if some := slices.DeleteFunc(slices.Clone(all), func(h LeaseOwner) bool { return !is(h) }); len(some) > 0 {
		return some
	}
	return all
}
