package gate

import (
	"fmt"
	"iter"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// Restricted are the clients that may not open every service, each with the
// services that it may open. Its slices are not retained. nil: there are none.
type Restricted = iter.Seq2[wire.Identifier, []access.ServiceID]

// rights are the services that a client may open: bit i stands for the i-th. A
// bit set is small enough for a million restricted clients.
type rights uint64

const allServices = ^rights(0)

func (r rights) allow(i int) bool { return r>>i&1 != 0 }

func (s *Services) compile(r Restricted) (map[wire.Identifier]rights, error) {
	all := map[wire.Identifier]rights{}
	if r == nil {
		return all, nil
	}
	for id, services := range r {
		var may rights
		for _, service := range services {
			i, ok := s.places[service]
			if !ok {
				return nil, fmt.Errorf("gate: client %s may open the service %s, which does not exist", id, service)
			}
			may |= 1 << i
		}
		all[id] = may
	}
	return all, nil
}

// Names returns the services that a client may open, without those whose port is
// not bound.
func (s *Services) Names(id wire.Identifier) (names []string) {
	may := s.rights(id)
	for i, service := range s.list {
		if may.allow(i) && service.isBound() {
			names = append(names, service.Name)
		}
	}
	return names
}

// Immediate returns those of Names whose leases take effect with their grants: see
// Defers.
func (s *Services) Immediate(id wire.Identifier) (names []string) {
	may := s.rights(id)
	for i, service := range s.list {
		if may.allow(i) && !service.defers() && service.isBound() {
			names = append(names, service.Name)
		}
	}
	return names
}

func (s *Services) rights(id wire.Identifier) rights {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rightsOf(id)
}

// rightsOf is rights. The caller holds the lock.
func (s *Services) rightsOf(id wire.Identifier) rights {
	if r, ok := s.restricted[id]; ok {
		return r
	}
	return allServices
}

// Differs returns a function that reports whether a client's rights would be others
// than now.
func (s *Services) Differs(r Restricted) func(wire.Identifier) bool {
	next, err := s.compile(r)
	if err != nil {
		return func(wire.Identifier) bool { return false }
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.restricted // each change replaces it
	return func(id wire.Identifier) bool {
		before, limited := now[id]
		after, limits := next[id]
		return limited != limits || before != after
	}
}
