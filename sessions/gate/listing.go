package gate

import (
	"net/netip"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// Lease is a lease in force, for the administrator.
type Lease struct {
	Service   string
	Client    wire.Identifier
	Peer      access.Peer
	Address   netip.Addr // of the last grant; zero: Peer is access.AnyAddress
	Operation string     // that keeps it, or has granted it last; empty: knocks did
	Since     time.Time  // by clock.Boot
	Until     time.Time  // by clock.Boot; of a kept lease the time of its next renewal
	Kept      bool       // it lasts until it is closed
	Waits     string     // why the lease opens nothing yet; empty: it is in effect
}

// Leases returns all leases in force, in no order.
func (s *Services) Leases() (all []Lease) {
	count := 0
	for _, service := range s.list {
		count += int(service.leases.count.Load())
	}
	all = make([]Lease, 0, count)
	for _, service := range s.list {
		all = service.appendLeases(all)
	}
	return all
}

// Stopped returns the leases that were in force when Run ended, and that ended with it, in
// no order. A lease that was ended for another reason is none of them. It must be called
// after Run.
func (s *Services) Stopped() (all []Lease) {
	for _, service := range s.list {
		service.mu.Lock()
		all = append(all, service.stopped...)
		service.mu.Unlock()
	}
	return all
}

// appendLeases copies the leases. Grants wait meanwhile.
func (s *Service) appendLeases(all []Lease) []Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.appendLocked(all, func(Lease) bool { return true })
}

func (s *Service) appendLocked(all []Lease, matches func(Lease) bool) []Lease {
	if s.closed {
		return all
	}
	now := s.clock.Boot()
	for _, le := range s.leases.byEnd {
		l := s.listed(le)
		if now.Before(le.until) && matches(l) {
			all = append(all, l)
		}
	}
	return all
}

// listed returns a lease for the list.
func (s *Service) listed(le *lease) Lease {
	l := Lease{s.Name, le.client, le.peer, le.address, le.label, le.began, le.until, le.kept, ""}
	if err := s.obstacle(); err != nil {
		l.Waits = err.Error()
	} else if le.pending {
		l.Waits = errPending.Error()
	}
	return l
}

// HasLease reports whether a client has a lease for a peer, and whether it is a kept
// one.
func (s *Services) HasLease(id access.ServiceID, client wire.Identifier, p access.Peer) (has, kept bool) {
	i, ok := s.places[id]
	if !ok {
		return false, false
	}
	service := s.list[i]
	service.mu.Lock()
	defer service.mu.Unlock()
	le := service.leases.find(client, p)
	return le != nil && service.clock.Boot().Before(le.until), le != nil && le.kept
}

// EndLeases ends the leases that match, and random ports of their clients at the
// same peers, and returns the leases. Connections end by the policy of the service,
// or with cut in any case, unless another lease admits the peer.
func (s *Services) EndLeases(matches func(Lease) bool, cut bool, reason EndReason) (gone []Lease) {
	for _, service := range s.list {
		gone = append(gone, service.endLeases(matches, cut, reason)...)
	}
	return gone
}

func (s *Service) endLeases(matches func(Lease) bool, cut bool, reason EndReason) []Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.appendLocked(nil, matches)
	cut = cut || s.terms.Cut
	var peers []access.Peer
	var over []ended
	for _, l := range all {
		s.endPorts(func(p *openPort) bool { return p.client == l.Client && p.peer == l.Peer.Source() }, cut, reason)
		if gone, some := s.leases.remove(l.Client, l.Peer); some {
			peers, over = append(peers, l.Peer), append(over, gone)
		}
	}
	if len(peers) > 0 {
		s.shortened = true
		s.revokePeers(peers, cut, false)
		s.cutProved(over, cut)
		s.logEnded(over, reason)
	}
	return all
}

// grantOf returns a grant for the peer of a lease.
func grantOf(le ended) sessions.Grant {
	if le.peer == access.AnyAddress {
		return sessions.Grant{Identifier: le.client}
	}
	return sessions.Grant{Identifier: le.client, Address: le.peer.Prefix.Addr().WithZone(le.peer.Zone)}
}
