package gate

import (
	"errors"
	"fmt"
	"maps"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// Update has the settings of a gate that may change while it runs.
type Update struct {
	Restricted Restricted
	Policies   map[access.ServiceID]LeasePolicy // of every service
	// IsClient reports whether an identifier belongs to a client from now on.
	// Restrict and Commit call it; Prepare does not.
	IsClient func(wire.Identifier) bool
	// Gone are the clients that are removed from Restrict on. Replaced reports
	// which of them are followed by another client of the same identifier: such
	// a client loses all that it has. nil: none is.
	Gone     []wire.Identifier
	Replaced func(wire.Identifier) bool
	// Expired reports which clients have expired: that is why their leases end. nil: none.
	Expired func(wire.Identifier) bool
	// Waits reports which identifiers are no longer clients, but keep what they
	// have until they are revoked. nil: none.
	Waits func(wire.Identifier) bool
}

// stays reports whether a client keeps what it has.
func (u Update) stays(id wire.Identifier, allowed bool) bool {
	if u.Waits != nil && u.Waits(id) {
		return true
	}
	return u.IsClient(id) && allowed && (u.Replaced == nil || !u.Replaced(id))
}

// why returns why the leases of a client end that does not stay.
func (u Update) why(id wire.Identifier) EndReason {
	if u.Expired != nil && u.Expired(id) {
		return ClientExpired
	}
	return Revoked
}

// Prepared is an Update of which the remaining steps cannot fail: Restrict and
// then Commit, or Abort.
type Prepared struct {
	services   *Services
	restricted map[wire.Identifier]rights
	update     Update
	over       bool
}

// Prepare does all of an update that can fail. If it fails, the gate is as
// before. One update is prepared at a time. If the peers that a service is open
// to change, both the old and the new ones are admitted until Commit or Abort:
// so Prepare must be the last step before a reload is decided, after all others
// that can fail.
func (s *Services) Prepare(u Update) (*Prepared, error) {
	restricted, err := s.compile(u.Restricted)
	if err != nil {
		return nil, err
	}
	if u.IsClient == nil {
		return nil, errors.New("gate: an update requires IsClient")
	}
	for _, service := range s.list {
		if _, ok := u.Policies[service.id]; !ok {
			return nil, fmt.Errorf("gate: an update requires a policy for the service %s", service.Name)
		}
	}
	for i, service := range s.list {
		if err := service.prepare(u.Policies[service.id]); err != nil {
			for _, before := range s.list[:i] {
				before.abort()
			}
			return nil, err
		}
	}
	return &Prepared{services: s, restricted: restricted, update: u}, nil
}

// Narrow makes clients, before Restrict, have no other rights after the update than those
// in r. It returns an error if a service is unknown.
func (p *Prepared) Narrow(r Restricted) error {
	narrowed, err := p.services.compile(r)
	if err != nil {
		return err
	}
	p.restricted = maps.Clone(p.restricted)
	for id, may := range narrowed {
		if has, restricted := p.restricted[id]; restricted {
			may &= has
		}
		p.restricted[id] = may
	}
	return nil
}

// Restrict changes which services clients may open, before new clients can
// knock. Removed clients can open nothing, even while shards have not yet
// dropped them, nor can a client whose identifier another client gets, before
// Commit. Other identifiers that are not clients keep their restrictions until
// then. Leases end of clients that may no longer open the service.
func (p *Prepared) Restrict() {
	p.restrict()
	s := p.services
	for i, service := range s.list {
		service.keepAllowed(func(id wire.Identifier) bool {
			return s.rights(id).allow(i) || p.update.Waits != nil && p.update.Waits(id)
		}, p.update.why)
	}
}

// keepAllowed ends the leases and connections of all other clients.
func (s *Service) keepAllowed(allowed func(wire.Identifier) bool, why func(wire.Identifier) EndReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.revokeExcept(allowed, false, why)
	}
}

func (p *Prepared) restrict() {
	s := p.services
	s.mu.Lock()
	defer s.mu.Unlock()
	both := maps.Clone(p.restricted)
	for id, r := range s.restricted {
		if !p.update.IsClient(id) {
			both[id] = r
		}
	}
	for _, id := range p.update.Gone {
		both[id] = 0
	}
	s.restricted = both
}

// Commit completes the update, when removed clients can no longer knock. It
// ends leases and connections of removed clients, and of clients that may no
// longer open a service.
func (p *Prepared) Commit() {
	if p.over {
		return
	}
	p.over = true
	s := p.services
	s.mu.Lock()
	s.restricted = p.restricted
	s.mu.Unlock()
	for i, service := range s.list {
		service.commit(p.update.Policies[service.id], func(id wire.Identifier) bool {
			return p.update.stays(id, s.rights(id).allow(i))
		}, p.update.why)
		if len(p.update.Gone) > 0 {
			service.revokeClients(func(wire.Identifier) bool { return false }, Revoked) // connections that may be of any client
		}
	}
}

// Abort abandons the update, before Restrict. After Commit it does nothing.
func (p *Prepared) Abort() {
	if p.over {
		return
	}
	p.over = true
	for _, service := range p.services.list {
		service.abort()
	}
}
