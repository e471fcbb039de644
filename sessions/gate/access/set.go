package access

import (
	"iter"
	"maps"
	"net/netip"
	"time"
)

// Set is whom an enforcer of this process lets in, and until when. The zero
// value is nobody. It is not safe for concurrent use.
type Set struct{ of map[Peer]member }

// member is a peer that is let in.
type member struct {
	until  time.Time
	owners *LeaseOwners // by whose leases
	used   time.Time    // when something was opened from there
}

// Put has a peer let in until a time; zero: no more. It returns until when the
// peer was let in before; zero: it was not. The zero Peer is never let in.
func (s *Set) Put(p Peer, until time.Time) (before time.Time) {
	return s.put(p, member{until: until}).until
}

func (s *Set) put(p Peer, m member) (before member) {
	before = s.of[p]
	switch {
	case m.until.IsZero() || !p.IsValid():
		delete(s.of, p)
	case s.of == nil:
		s.of = map[Peer]member{p: m}
	default:
		s.of[p] = m
	}
	return before
}

// Add has a peer be one of the set, for ever.
func (s *Set) Add(p Peer) { s.Put(p, endless) }

// Allows reports whether an address may come in now, as clock.Boot has it.
func (s *Set) Allows(a netip.Addr, now time.Time) bool {
	for _, p := range peersOf(a) {
		if now.Before(s.of[p].until) {
			return true
		}
	}
	return false
}

// Has reports whether an address belongs to a peer of the set, whatever the
// time.
func (s *Set) Has(a netip.Addr) bool {
	for _, p := range peersOf(a) {
		if _, ok := s.of[p]; ok {
			return true
		}
	}
	return false
}

// Len returns the number of peers.
func (s *Set) Len() int { return len(s.of) }

// Peers returns all peers, in any order.
func (s *Set) Peers() iter.Seq[Peer] { return maps.Keys(s.of) }

// Clear lets nobody in any more.
func (s *Set) Clear() { clear(s.of) }
