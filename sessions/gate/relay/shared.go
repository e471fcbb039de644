package relay

import (
	"sync"
	"sync/atomic"

	"sallyport/sessions/gate/access"
)

// Shared counts the flows of several relays together, so that MaxFlows and PerAddress
// limit all of them: a service whose port rotates has a relay for each of its ports.
// The zero value is ready.
type Shared struct {
	mu           sync.Mutex // locked last
	all, running int
	count        atomic.Int64 // all, to be read without the lock
	of           map[access.Peer]sharedUsage
}

type sharedUsage struct{ flows, running int }

// usage returns the flows of an address, and of all.
func (s *Shared) usage(a access.Peer) usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.of[a]
	return usage{own.flows, own.running, s.all, s.running}
}

// add counts flows of an address, and their goroutines; both may be negative. A nil
// Shared counts nothing.
func (s *Shared) add(a access.Peer, flows, running int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all, s.running = s.all+flows, s.running+running
	s.count.Store(int64(s.all))
	own := s.of[a]
	own.flows, own.running = own.flows+flows, own.running+running
	switch {
	case own == sharedUsage{}:
		delete(s.of, a)
	case s.of == nil:
		s.of = map[access.Peer]sharedUsage{a: own}
	default:
		s.of[a] = own
	}
}

// Flows returns the number of flows of all relays. It takes no lock.
func (s *Shared) Flows() int { return int(s.count.Load()) }
