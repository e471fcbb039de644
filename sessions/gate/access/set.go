package access

import (
	"iter"
	"maps"
	"math/bits"
	"net/netip"
	"time"
)

// Set is the peers that an enforcer of this process admits, and until when. The
// zero value is empty. It is not safe for concurrent use.
type Set struct {
	of map[Peer]member
	// lengths4 are the prefix lengths of IPv4 that the set has had: bit i stands for i.
	// A service has one, and that of anyone.
	lengths4 uint64
}

// member is the state of an admitted peer.
type member struct {
	until  time.Time
	owners *LeaseOwners // clients whose leases admit it
	used   time.Time    // time of the last connection from there
}

// Put admits a peer until a time; zero: removes it. It returns until when the
// peer was admitted before; zero: it was not. The zero Peer is never admitted.
func (s *Set) Put(p Peer, until time.Time) (before time.Time) {
	return s.put(p, member{until: until}).until
}

func (s *Set) put(p Peer, m member) (before member) {
	before = s.of[p]
	switch {
	case m.until.IsZero() || !p.IsValid():
		delete(s.of, p)
	case s.of == nil:
		s.of = map[Peer]member{}
		fallthrough
	default:
		s.of[p] = m
		if p.Prefix.Addr().Is4() {
			s.lengths4 |= 1 << p.Prefix.Bits()
		}
	}
	return before
}

// Add admits a peer without a time limit.
func (s *Set) Add(p Peer) { s.Put(p, endless) }

// Allows reports whether an address is admitted now, by clock.Boot.
func (s *Set) Allows(a netip.Addr, now time.Time) bool {
	for p := range s.peersOf(a) {
		if now.Before(s.of[p].until) {
			return true
		}
	}
	return false
}

// Has reports whether an address belongs to a peer of the set, whatever the
// time.
func (s *Set) Has(a netip.Addr) bool {
	for p := range s.peersOf(a) {
		if _, ok := s.of[p]; ok {
			return true
		}
	}
	return false
}

// peersOf returns all peers to which an address belongs and that may be in the set.
func (s *Set) peersOf(a netip.Addr) iter.Seq[Peer] {
	return func(yield func(Peer) bool) {
		a := a.Unmap()
		switch {
		case a.Is4():
			for left := s.lengths4; left != 0; left &= left - 1 {
				n := bits.TrailingZeros64(left)
				if !yield(Peer{Prefix: netip.PrefixFrom(a, n).Masked()}) {
					return
				}
			}
		case a.Is6():
			_ = yield(PeerOf(a, PrefixHost)) && yield(PeerOf(a, PrefixNetwork)) && yield(Anyone6)
		}
	}
}

// Len returns the number of peers.
func (s *Set) Len() int { return len(s.of) }

// Peers returns all peers, in any order.
func (s *Set) Peers() iter.Seq[Peer] { return maps.Keys(s.of) }

// Clear removes all peers.
func (s *Set) Clear() { *s = Set{} }
