package gate

import (
	"fmt"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// A change of a service's policy. Each step that can fail is in prepare.

// prepare prepares a service for another policy. Only one step can fail: if the
// policy changes from the knockers to anyone, or back, the new peers must be
// admitted before the old ones are removed. prepare admits them; until commit
// or abort both are admitted.
func (s *Service) prepare(t LeasePolicy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.terms.Anyone == t.Anyone:
		return nil
	}
	added := s.peersOf(t.Anyone)
	s.prepared = s.clock.Boot()
	var steps []*step
	for _, p := range added {
		if until := s.until(p); !until.IsZero() {
			steps = append(steps, &step{service: s, peer: p, after: until})
		}
	}
	enforce(s.enforcers, steps)
	for _, st := range steps {
		if st.err != nil {
			s.evict(added, s.prepared)
			return fmt.Errorf("change open_to of the service %s: %w", s.Name, st.err)
		}
	}
	s.knockers, s.anyone = true, true
	if t.Anyone {
		s.anyoneUntil = s.leases.Last()
	}
	return nil
}

// commit applies another policy to later grants, and ends the leases and random
// ports of all clients except those that stay. Other leases continue as they
// were granted, and connections that the new policy admits continue.
func (s *Service) commit(t LeasePolicy, stays func(wire.Identifier) bool, why func(wire.Identifier) EndReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	anyone := s.terms.Anyone
	s.terms = t
	s.leases.SetTerms(t.OpenFor, t.OpenMax, t.Addresses)
	s.revokeExcept(stays, false, why)
	if anyone != t.Anyone {
		s.evict(s.peersOf(anyone), time.Time{})
	}
	s.setAudience()
}

// abort undoes prepare, and ends connections that prepare let in. Earlier
// connections continue.
func (s *Service) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.knockers && s.anyone {
		s.evict(s.peersOf(!s.terms.Anyone), s.prepared)
	}
	s.setAudience()
}

// setAudience makes leases admit exactly the peers of the policy.
func (s *Service) setAudience() {
	s.knockers, s.anyone = !s.terms.Anyone, s.terms.Anyone
	if !s.anyone {
		s.anyoneUntil = time.Time{}
	}
}

// peersOf returns the peers that the leases admit, to anyone or not.
func (s *Service) peersOf(anyone bool) []access.Peer {
	if anyone {
		return []access.Peer{access.Anyone4, access.Anyone6}
	}
	return s.leases.Peers()
}

// evict removes peers, even if leases admit them, and cuts their connections
// since a time, except those that another lease admits.
func (s *Service) evict(peers []access.Peer, since time.Time) {
	steps := make([]*step, len(peers))
	for i, p := range peers {
		steps[i] = &step{service: s, peer: p, ends: true, cut: true, since: since}
	}
	applyRevocations(s.enforcers, steps)
}
