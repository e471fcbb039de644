package access

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/verify/wire"
)

// MaxHolders is how many clients a connection may belong to. One that more could
// have opened belongs to all clients.
const MaxHolders = 8

// Holder is a client with a lease that lets a peer in.
type Holder struct {
	Client  wire.Identifier
	Granted time.Time // when it was last let in
	Until   time.Time
	From    Peer // whom the lease is for: of a service that is open to anyone, who has opened it
}

// Holders are by whose leases a peer is let in: MaxHolders and one more stand for
// any number.
type Holders []Holder

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
	var holders []Holder
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
		if m.holders != nil {
			holders = append(holders, *m.holders...)
		}
	}
	holders = slices.DeleteFunc(holders, func(h Holder) bool { return !now.Before(h.Until) })
	holders = narrowed(holders, func(h Holder) bool { return slices.Contains(peers[:], h.From) })
	var last time.Time
	for _, h := range holders {
		if h.Granted.After(used) && h.Granted.After(last) {
			last = h.Granted
		}
	}
	holders = narrowed(holders, func(h Holder) bool { return h.Granted.Equal(last) })
	for _, h := range holders {
		if !slices.Contains(o.ids, h.Client) {
			o.ids = append(o.ids, h.Client)
		}
	}
	if len(o.ids) > MaxHolders {
		o = Owners{all: true}
	}
	return o, ok
}

// narrowed returns the holders of which something is true, or all if it is of
// none.
func narrowed(all []Holder, is func(Holder) bool) []Holder {
	if some := slices.DeleteFunc(slices.Clone(all), func(h Holder) bool { return !is(h) }); len(some) > 0 {
		return some
	}
	return all
}
