package gate

import (
	"maps"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// Narrow takes rights from clients at once, without an Update: of those that are
// given, each may open from now on what it may open already and is given here,
// and nothing else. What it has open of other services ends by cut, which is
// called when nothing is on its way to Open any more that was decided before; of
// clients that wait it does not end. The error says that there is no such
// service; then nothing has changed.
func (s *Services) Narrow(r Restricted) (cut func(waits func(wire.Identifier) bool), err error) {
	narrowed, err := s.compile(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(s.restricted)
	for id, may := range narrowed {
		next[id] = may & s.of(id)
	}
	s.restricted = next
	return func(waits func(wire.Identifier) bool) {
		for i, service := range s.list {
			service.end(func(id wire.Identifier) bool {
				_, some := narrowed[id]
				return some && !waits(id) && !s.rights(id).allow(i)
			})
		}
	}, nil
}

// Revoke ends what clients have open, of all services.
func (s *Services) Revoke(gone func(wire.Identifier) bool) {
	for _, service := range s.list {
		service.end(gone)
	}
}

// Disconnect ends what is connected from peers to a service, if the enforcers do
// not know whose that is, whoever else is let in from there.
func (s *Services) Disconnect(id access.ServiceID, peers []access.Peer) {
	i, ok := s.places[id]
	if !ok {
		return
	}
	service := s.list[i]
	service.mu.Lock()
	defer service.mu.Unlock()
	if !service.shut {
		service.endedBy(peers, service.terms.Cut, true)
	}
}

// Displace ends a client's lease for a peer, if there is one, and what is connected
// from there as Disconnect does.
func (s *Services) Displace(id access.ServiceID, client wire.Identifier, p access.Peer) {
	i, ok := s.places[id]
	if !ok {
		return
	}
	service := s.list[i]
	service.mu.Lock()
	defer service.mu.Unlock()
	if !service.shut {
		service.fewer = service.leases.Remove(client, p)
		service.endedBy([]access.Peer{p}, service.terms.Cut, true)
	}
}

// May reports whether a client may open a service.
func (s *Services) May(client wire.Identifier, id access.ServiceID) bool {
	i, ok := s.places[id]
	return ok && s.rights(client).allow(i)
}

// Holders returns the clients that have something open, or may: its end is a
// revocation's to see to.
func (s *Services) Holders() map[wire.Identifier]bool {
	all := map[wire.Identifier]bool{}
	for _, service := range s.list {
		service.holders(all)
	}
	return all
}

// end revokes clients.
func (s *Service) end(gone func(wire.Identifier) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.shut {
		s.revokeFrom(func(id wire.Identifier) bool { return !gone(id) }, true)
	}
}

func (s *Service) holders(all map[wire.Identifier]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases.holders(all)
	s.ports.prune()
	for _, p := range s.ports {
		all[p.client] = true
	}
	for _, e := range s.enforcers {
		if o, ok := e.(owner); ok {
			o.Owners(func(id wire.Identifier) { all[id] = true })
		}
	}
}
