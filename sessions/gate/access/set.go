package access

import (
	"iter"
	"maps"
	"net/netip"
	"time"
)

// Set is the peers that an enforcer of this process admits, and until when. The
// zero value is empty. It is not safe for concurrent use.
type Set struct{ of map[Peer]member }

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
		s.of = map[Peer]member{p: m}
	default:
		s.of[p] = m
	}
	return before
}

// Add admits a peer without a time limit.
func (s *Set) Add(p Peer) { s.Put(p, endless) }

// Allows reports whether an address is admitted now, by clock.Boot.
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

// Clear removes all peers.
func (s *Set) Clear() { clear(s.of) }
