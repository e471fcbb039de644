package gate

import (
	"fmt"

	"sallyport/sessions/gate/access"
)

// DoAll is Do for several orders at a time, of different clients or addresses:
// those that close share one Apply of each enforcer, and then those that open. It
// returns nil when all is well, and otherwise the error of each order. An order
// that fails keeps no other from being carried out.
func (s *Services) DoAll(orders []Command) []error {
	b := batch{orders: orders, errs: make([]error, len(orders)), places: make([]int, len(orders))}
	used := make([]bool, len(s.list))
	for i, o := range orders {
		if b.places[i], b.errs[i] = s.place(o); b.errs[i] == nil {
			used[b.places[i]] = true
		}
	}
	for i, service := range s.list {
		if used[i] {
			service.mu.Lock() // always in the order of the list
			defer service.mu.Unlock()
		}
	}
	b.close(s)
	b.open(s)
	for _, err := range b.errs {
		if err != nil {
			return b.errs
		}
	}
	return nil
}

// place returns which service an order is for, if it may be carried out.
func (s *Services) place(o Command) (int, error) {
	i, ok := s.places[o.Service]
	if !ok {
		return 0, fmt.Errorf("gate: no service has the identifier %s", o.Service)
	}
	if !s.rights(o.Grant.Identifier).allow(i) {
		return 0, ErrNotAllowed
	}
	return i, o.validate()
}

// batch is orders that are carried out together. The services are locked.
type batch struct {
	orders []Command
	places []int // of their services
	errs   []error
}

// each calls f with the orders that have not failed, and their services.
func (b *batch) each(s *Services, f func(o Command, service *Service) error) {
	for i, o := range b.orders {
		if b.errs[i] != nil {
			continue
		}
		service := s.list[b.places[i]]
		if service.shut {
			b.errs[i] = ErrClosed
		} else {
			b.errs[i] = f(o, service)
		}
	}
}

func (b *batch) close(s *Services) {
	peers := map[*Service][]access.Peer{}
	b.each(s, func(o Command, service *Service) error {
		if o.Action == Close {
			if peer, some := service.forgetLease(o.Grant); some {
				peers[service] = append(peers[service], peer)
			}
		}
		return nil
	})
	var steps []*step
	for service, of := range peers {
		steps = append(steps, service.endings(of, service.terms.Cut, false)...)
	}
	if len(steps) > 0 {
		end(s.enforcers, steps)
	}
	for service := range peers {
		service.logClosed()
	}
}

func (b *batch) open(s *Services) {
	var requests []*request
	of := map[*request]int{}
	for i, o := range b.orders {
		if b.errs[i] != nil || o.Action != Open {
			continue
		}
		service := s.list[b.places[i]]
		if o.Port != 0 {
			b.errs[i] = service.openPort(o)
			continue
		}
		r := &request{service: service, grant: o.Grant, fixed: o.For}
		requests, of[r] = append(requests, r), i
	}
	open(s.enforcers, requests)
	for _, r := range requests {
		b.errs[of[r]] = r.err
	}
}
