package gate

import (
	"fmt"
	"slices"
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
		if until := s.untilOf(p, t.Anyone); !until.IsZero() {
			steps = append(steps, &step{service: s, peer: p, before: s.until(p), after: until})
		}
	}
	enforce(s.enforcers, steps)
	for _, st := range steps {
		if st.err != nil {
			s.leave(t.Anyone, s.prepared)
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
		s.leave(anyone, time.Time{})
	}
	s.setAudience()
}

// abort undoes prepare, and ends connections that prepare let in. Earlier
// connections continue.
func (s *Service) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.knockers && s.anyone {
		s.leave(!s.terms.Anyone, s.prepared)
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
	var peers []access.Peer
	for _, p := range s.leases.Peers() {
		peers = append(peers, p.Admitted()...)
	}
	return peers
}

// leave removes the peers that leases to anyone, or those that are not, admit, even if
// leases admit them, and cuts their connections since a time, except those that another
// lease admits. Peers that the leases of the other kind admit too stay as long as these.
func (s *Service) leave(anyone bool, since time.Time) {
	stay := s.peersOf(!anyone)
	var steps []*step
	for _, p := range s.peersOf(anyone) {
		st := &step{service: s, peer: p, ends: true, cut: true, since: since}
		if slices.Contains(stay, p) {
			st.after = s.untilOf(p, !anyone)
		}
		steps = append(steps, st)
	}
	applyRevocations(s.enforcers, steps)
}
