package gate

import (
	"errors"
	"fmt"
	"maps"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// Update is what of a gate may change while it runs.
type Update struct {
	Restricted Restricted
	Terms      map[access.ServiceID]LeasePolicy // of every service
	// IsClient reports who is a client from now on. It is called by Restrict
	// and Commit, and not before.
	IsClient func(wire.Identifier) bool
	// Gone are those who were clients and are none from Restrict on, and Anew
	// which of them is followed by another client of its identifier: it loses
	// all that it has. nil: none is.
	Gone []wire.Identifier
	Anew func(wire.Identifier) bool
	// Waits reports who is no client any more and keeps what it has until it is
	// revoked. nil: nobody.
	Waits func(wire.Identifier) bool
}

// stays reports whether a client keeps what it has.
func (u Update) stays(id wire.Identifier, allowed bool) bool {
	if u.Waits != nil && u.Waits(id) {
		return true
	}
	return u.IsClient(id) && allowed && (u.Anew == nil || !u.Anew(id))
}

// Prepared is an Update that can be carried out without fail, by Restrict and
// then Commit, or left, by Abort.
type Prepared struct {
	services   *Services
	restricted map[wire.Identifier]rights
	update     Update
	over       bool
}

// Prepare does all of an update that can fail. If it fails, the gate is as it
// was. One update is prepared at a time. When whom a service is open to
// changes, both the old and the new are let in until Commit or Abort: so
// Prepare is the last step before a reload is decided, after all others that
// can fail.
func (s *Services) Prepare(u Update) (*Prepared, error) {
	restricted, err := s.compile(u.Restricted)
	if err != nil {
		return nil, err
	}
	if u.IsClient == nil {
		return nil, errors.New("gate: an update without a list of clients")
	}
	for _, service := range s.list {
		if _, ok := u.Terms[service.id]; !ok {
			return nil, fmt.Errorf("gate: an update without terms for %s", service.Name)
		}
	}
	for i, service := range s.list {
		if err := service.prepare(u.Terms[service.id]); err != nil {
			for _, before := range s.list[:i] {
				before.abort()
			}
			return nil, err
		}
	}
	return &Prepared{services: s, restricted: restricted, update: u}, nil
}

// Restrict changes who may open what, before clients that are new can knock.
// Clients that are gone open nothing, also while shards have not dropped them,
// nor does one whose identifier another client takes, before Commit. Others that
// are no clients keep their restrictions until then.
func (p *Prepared) Restrict() {
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

// Commit has the update in force, when removed clients can knock no more. Leases
// of theirs, and of those that may no longer open a service, end with their
// connections.
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
		service.commit(p.update.Terms[service.id], func(id wire.Identifier) bool {
			return p.update.stays(id, s.rights(id).allow(i))
		})
		if len(p.update.Gone) > 0 {
			service.end(func(wire.Identifier) bool { return false }) // what may be anyone's
		}
	}
}

// Abort leaves the update, before Restrict. After Commit it does nothing.
func (p *Prepared) Abort() {
	if p.over {
		return
	}
	p.over = true
	for _, service := range p.services.list {
		service.abort()
	}
}
