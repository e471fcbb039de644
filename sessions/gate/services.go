package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// MaxServices is the maximum number of services of a gate.
const MaxServices = 64

// Services is a gate of several services. It implements sessions.Gate.
type Services struct {
	list      []*Service
	places    map[access.ServiceID]int // in the list
	enforcers []access.Enforcer        // of all services, each once

	mu         sync.RWMutex
	restricted map[wire.Identifier]rights
}

// NewServices returns a gate. Services may share enforcers, which each must
// list in the same order: a batch of grants is then one Apply of a shared
// enforcer.
func NewServices(list []*Service, r Restricted) (*Services, error) {
	if len(list) > MaxServices {
		return nil, fmt.Errorf("gate: expected at most %d services, got %d", MaxServices, len(list))
	}
	s := &Services{list: list, places: make(map[access.ServiceID]int, len(list))}
	ids := make([]access.ServiceID, len(list))
	for i, service := range list {
		ids[i] = service.id
		s.places[service.id] = i
	}
	if err := access.Distinct(ids); err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	var err error
	if s.enforcers, err = inOrder(list); err != nil {
		return nil, err
	}
	if s.restricted, err = s.compile(r); err != nil {
		return nil, err
	}
	return s, nil
}

// inOrder returns all enforcers, each after those that precede it at any
// service.
func inOrder(list []*Service) (all []access.Enforcer, err error) {
	rank := map[access.Enforcer]int{}
	for _, s := range list {
		for i, e := range s.enforcers {
			if _, ok := rank[e]; !ok {
				all = append(all, e)
			}
			rank[e] = max(rank[e], i)
		}
	}
	slices.SortStableFunc(all, func(a, b access.Enforcer) int { return rank[a] - rank[b] })
	for _, s := range list {
		byIndex := func(a, b access.Enforcer) int { return slices.Index(all, a) - slices.Index(all, b) }
		if !slices.IsSortedFunc(s.enforcers, byIndex) {
			return nil, errors.New("gate: services share enforcers in different orders")
		}
	}
	return all, nil
}

// Open makes each grant open all services that its client may open, with one
// Apply of each enforcer. It returns nil if all succeed, and otherwise the
// error of each grant. A failed service does not prevent the others, nor does a
// failed grant. A grant whose knocks came from several addresses opens only the
// services of which one lease has all of them; the log names the others.
func (s *Services) Open(grants []sessions.Grant) []error {
	may := make([]rights, len(grants))
	s.mu.RLock()
	for i, g := range grants {
		may[i] = s.rightsOf(g.Identifier)
	}
	s.mu.RUnlock()
	var requests []*request
	var of []int // the grant of each request
	for i, service := range s.list {
		first := len(requests)
		for j, g := range grants {
			switch {
			case !may[j].allow(i), service.elsewhere:
			case !service.covers(g):
				service.logUncovered(g)
			default:
				requests, of = append(requests, &request{service: service, grant: g}), append(of, j)
			}
		}
		if len(requests) > first {
			service.mu.Lock() // always in the order of the list
			defer service.mu.Unlock()
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

// Defers reports whether a service reports by ServiceConfig.Opened when its leases
// take effect. Of other services, leases take effect before Open or ExecuteAll
// returns nil.
func (s *Services) Defers(id access.ServiceID) bool {
	i, ok := s.places[id]
	return ok && s.list[i].defers()
}

// Run ends leases at their time. When ctx ends, it closes everything for good
// and returns nil.
func (s *Services) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, service := range s.list {
		g.Go(func() error { return service.Run(ctx) })
	}
	return g.Wait()
}
