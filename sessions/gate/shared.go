package gate

import (
	"errors"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// SharedGrant is the grant of another gateway of the fleet. It opens the services that
// are shared (ServiceConfig.Shared), and extends no lease beyond the time that it has
// left.
type SharedGrant struct {
	sessions.Grant
	// From is the latest time at which the grant can have been made, by the wall clock.
	// Until is when its lease ends at the other gateway. A service opens until From and its
	// own OpenFor, and not beyond Until.
	From, Until time.Time
}

// Shared reports whether grants of other gateways open a service here.
func (s *Services) Shared(id access.ServiceID) bool {
	i, ok := s.places[id]
	return ok && s.list[i].shared
}

// left returns for how long a grant opens a service from now on; not positive: it has
// ended.
func (s *Service) left(g SharedGrant) time.Duration {
	return min(earlier(g.Until, g.From.Add(s.terms.OpenFor)).Sub(s.clock.Wall()), s.terms.OpenFor)
}

// OpenShared makes grants of other gateways open all shared services that each client may
// open here. It returns nil if all succeed, and otherwise the error of each grant.
func (s *Services) OpenShared(grants []SharedGrant) []error {
	for _, service := range s.list {
		if service.shared {
			service.mu.Lock() // always in the order of the list
			defer service.mu.Unlock()
		}
	}
	// Under the locks: a revocation does not wait for these grants, so it must either precede
	// this, or find the leases.
	may := s.rightsOfAll(grants)
	var requests []*request
	var of []int // the grant of each request
	for i, service := range s.list {
		if !service.shared || service.elsewhere {
			continue
		}
		for j, g := range grants {
			if left := service.left(g); may[j].allow(i) && service.covers(g.Grant) && left > 0 {
				requests, of = append(requests, &request{service: service, grant: g.Grant, fixed: left}), append(of, j)
			}
		}
	}
	open(s.enforcers, requests)
	var errs []error
	for i, r := range requests {
		if r.err != nil {
			if errs == nil {
				errs = make([]error, len(grants))
			}
			errs[of[i]] = errors.Join(errs[of[i]], r.err)
		}
	}
	return errs
}

func (s *Services) rightsOfAll(grants []SharedGrant) []rights {
	may := make([]rights, len(grants))
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i, g := range grants {
		may[i] = s.rightsOf(g.Identifier)
	}
	return may
}

// CloseShared ends the leases of a grant's client at its address, of all shared services:
// another gateway has revoked its grant.
func (s *Services) CloseShared(g sessions.Grant) {
	for _, service := range s.list {
		if service.shared {
			service.revokeFrom(g)
		}
	}
}

func (s *Service) revokeFrom(g sessions.Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	gone := s.leases.RemoveFrom(g.Identifier, access.PeerIn(g.Address, s.prefixLen4, s.prefixLen6))
	if len(gone) == 0 {
		return
	}
	s.shortened = true
	s.revokePeers(peersOf(gone), true, false)
	s.cutProved(gone, true)
	s.logEnded(gone, Revoked)
}

// SharedFor returns for how long a client's grant may open services at other gateways,
// by the policy of this one; 0: the client may open no shared service. Until the longest
// time has passed, a grant of another gateway may open something here.
func (s *Services) SharedFor(id wire.Identifier) (longest time.Duration) {
	may := s.rights(id)
	for i, service := range s.list {
		if service.shared && may.allow(i) {
			service.mu.Lock()
			longest = max(longest, service.terms.OpenFor)
			service.mu.Unlock()
		}
	}
	return longest
}
