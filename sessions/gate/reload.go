package gate

import (
	"fmt"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// A change of a service's terms, whose every step that can fail is in prepare.

// prepare makes ready for other terms. Only one thing can fail: from the
// knockers to anyone, or back, those whom the new terms let in have to be let in
// before the others are not. It lets them in; until commit or abort both are.
func (s *Service) prepare(t LeasePolicy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shut:
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
			s.forget(added, s.prepared)
			return fmt.Errorf("change whom %s is open to: %w", s.Name, st.err)
		}
	}
	s.knockers, s.anyone = true, true
	if t.Anyone {
		s.anyoneUntil = s.leases.Last()
	}
	return nil
}

// commit has other terms in force for what is to come, and ends the leases and
// random ports of all clients but those that stay. Others run on as they were
// granted, and whoever is let in by the new terms stays connected.
func (s *Service) commit(t LeasePolicy, stays func(wire.Identifier) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	anyone := s.terms.Anyone
	s.terms = t
	s.leases.SetTerms(t.OpenFor, t.OpenMax, t.Addresses)
	s.revoke(stays)
	if anyone != t.Anyone {
		s.forget(s.peersOf(anyone), time.Time{})
	}
	s.settle()
}

// abort takes back what prepare has let in, and those who came in by it. What was
// connected before lives on.
func (s *Service) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.knockers && s.anyone {
		s.forget(s.peersOf(!s.terms.Anyone), s.prepared)
	}
	s.settle()
}

// settle has leases let in whom the terms say, and no others.
func (s *Service) settle() {
	s.knockers, s.anyone = !s.terms.Anyone, s.terms.Anyone
	if !s.anyone {
		s.anyoneUntil = time.Time{}
	}
}

// peersOf returns whom the leases let in, to anyone or not.
func (s *Service) peersOf(anyone bool) []access.Peer {
	if anyone {
		return []access.Peer{access.Anyone4, access.Anyone6}
	}
	return s.leases.Peers()
}

// forget has peers let in no more, whatever the leases say, and cuts those of
// their connections since a time that nothing else lets in.
func (s *Service) forget(peers []access.Peer, since time.Time) {
	steps := make([]*step, len(peers))
	for i, p := range peers {
		steps[i] = &step{service: s, peer: p, ends: true, cut: true, since: since}
	}
	end(s.enforcers, steps)
}
