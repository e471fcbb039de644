package gate

import (
	"maps"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// Narrow removes rights from clients immediately, without an Update: from now
// on each given client may open only those services that it may open already
// and that r allows. cut ends the client's leases and connections of other
// services. The caller calls cut at once, and again after all grants that were decided
// before have reached Open. It does not end those of clients for which waits returns true. The reason,
// Revoked or ClientExpired, is for the log.
// Narrow returns an error if a service is unknown; then nothing has changed.
func (s *Services) Narrow(r Restricted) (cut func(waits func(wire.Identifier) bool, reason EndReason), err error) {
	narrowed, err := s.compile(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(s.restricted)
	for id, may := range narrowed {
		next[id] = may & s.rightsOf(id)
	}
	s.restricted = next
	return func(waits func(wire.Identifier) bool, reason EndReason) {
		for i, service := range s.list {
			service.revokeClients(func(id wire.Identifier) bool {
				_, narrows := narrowed[id]
				return narrows && !waits(id) && !s.rights(id).allow(i)
			}, reason)
		}
	}, nil
}

// Revoke ends the leases and connections of clients, of all services. The reason, Revoked
// or ClientExpired, is for the log.
func (s *Services) Revoke(gone func(wire.Identifier) bool, reason EndReason) {
	for _, service := range s.list {
		service.revokeClients(gone, reason)
	}
}

// Disconnect ends connections from peers to a service at the enforcers that do
// not know the owners of their connections, even if other leases let these
// peers in.
func (s *Services) Disconnect(id access.ServiceID, peers []access.Peer) {
	i, ok := s.places[id]
	if !ok {
		return
	}
	service := s.list[i]
	service.mu.Lock()
	defer service.mu.Unlock()
	if !service.closed {
		service.revokePeers(peers, service.terms.Cut, true)
	}
}

// Displace ends a client's leases for a peer, if there are any, and connections
// from there as Disconnect does.
func (s *Services) Displace(id access.ServiceID, client wire.Identifier, p access.Peer) {
	i, ok := s.places[id]
	if !ok {
		return
	}
	service := s.list[i]
	service.mu.Lock()
	defer service.mu.Unlock()
	if !service.closed {
		gone := service.leases.RemoveFrom(client, p)
		service.shortened = len(gone) > 0
		peers := peersOf(gone)
		if len(peers) == 0 {
			peers = []access.Peer{p} // its connections end all the same
		}
		service.revokePeers(peers, service.terms.Cut, true)
		if len(gone) > 0 {
			service.cutProved(gone, service.terms.Cut)
			service.logEnded(gone, displaced)
		}
	}
}

// May reports whether a client may open a service.
func (s *Services) May(client wire.Identifier, id access.ServiceID) bool {
	i, ok := s.places[id]
	return ok && s.rights(client).allow(i)
}

// ActiveClients returns the clients that have, or may have, leases, random
// ports or connections: a revocation must end these.
func (s *Services) ActiveClients() map[wire.Identifier]bool {
	all := map[wire.Identifier]bool{}
	for _, service := range s.list {
		service.addClients(all)
	}
	return all
}

// revokeClients revokes the clients for which gone returns true.
func (s *Service) revokeClients(gone func(wire.Identifier) bool, reason EndReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.revokeExcept(func(id wire.Identifier) bool { return !gone(id) }, true, func(wire.Identifier) EndReason { return reason })
	}
}

func (s *Service) addClients(all map[wire.Identifier]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases.addClients(all)
	s.ports.prune()
	for _, p := range s.ports {
		all[p.client] = true
	}
	for _, e := range s.enforcers {
		if o, ok := e.(connOwners); ok {
			o.Owners(func(id wire.Identifier) { all[id] = true })
		}
	}
}

// EndAll ends all leases and random ports, as if their time had ended: the
// enforcer that carried them is lost.
func (s *Services) EndAll() {
	for _, service := range s.list {
		service.revokeAll()
	}
}

func (s *Service) revokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endPorts(func(p *openPort) bool { return !p.ended }, s.terms.Cut, holderLost)
	if last := s.leases.final(); !last.IsZero() {
		s.expire(last.Add(time.Nanosecond), holderLost)
	}
}
