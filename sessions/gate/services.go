package gate

import (
	"context"
	"errors"
	"maps"
	"sync"

	"golang.org/x/sync/errgroup"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

// MaxServices is how many services a gate has at the most.
const MaxServices = 64

// Rights says which services a client may open: bit i stands for the i-th.
type Rights uint64

// AllServices is the right to open every one.
const AllServices = ^Rights(0)

// Allow returns whether the i-th service may be opened.
func (r Rights) Allow(i int) bool { return r>>i&1 != 0 }

// Services is a gate of several services. It implements sessions.Gate.
type Services struct {
	list []*Service

	mu         sync.RWMutex
	restricted map[wire.Identifier]Rights
}

// NewServices returns a gate. Clients that are not among the restricted may
// open every service.
func NewServices(list []*Service, restricted map[wire.Identifier]Rights) (*Services, error) {
	if len(list) > MaxServices {
		return nil, errors.New("gate: too many services")
	}
	return &Services{list: list, restricted: restricted}, nil
}

// Open opens all services that the client may open. If some fail, the others
// are open all the same.
func (s *Services) Open(g sessions.Grant) error {
	rights := s.rights(g.Identifier)
	var errs []error
	for i, service := range s.list {
		if rights.Allow(i) {
			if err := service.Open(g); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Names returns the services that a client may open.
func (s *Services) Names(id wire.Identifier) (names []string) {
	rights := s.rights(id)
	for i, service := range s.list {
		if rights.Allow(i) {
			names = append(names, service.Name)
		}
	}
	return names
}

func (s *Services) rights(id wire.Identifier) Rights {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r, ok := s.restricted[id]; ok {
		return r
	}
	return AllServices
}

// Restrict changes who may open what, before clients who are new can knock. Who
// is no client any more keeps his restrictions: until everybody knows that, he
// may knock as well.
func (s *Services) Restrict(restricted map[wire.Identifier]Rights, isClient func(wire.Identifier) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	both := maps.Clone(restricted)
	if both == nil {
		both = map[wire.Identifier]Rights{}
	}
	for id, rights := range s.restricted {
		if !isClient(id) {
			both[id] = rights
		}
	}
	s.restricted = both
}

// Update changes who may open what, and the terms, one for each service, when
// those who are no client any more cannot knock. Leases of theirs, and of those
// who may no longer open a service, end with their connections.
func (s *Services) Update(restricted map[wire.Identifier]Rights, isClient func(wire.Identifier) bool, terms []Terms) {
	s.mu.Lock()
	s.restricted = restricted
	s.mu.Unlock()
	for i, service := range s.list {
		service.Update(terms[i], func(id wire.Identifier) bool { return isClient(id) && s.rights(id).Allow(i) })
	}
}

// Run ends leases when they are over. When ctx ends it closes everything for
// good and returns nil.
func (s *Services) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, service := range s.list {
		g.Go(func() error { return service.Run(ctx) })
	}
	return g.Wait()
}
