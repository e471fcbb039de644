package gate

import (
	"fmt"

	"sallyport/sessions/gate/access"
)

// ExecuteAll is Execute for several commands at a time, of different clients or
// addresses: those that close share one Apply of each enforcer, and then those
// that open. It returns nil if all succeed, and otherwise the error of each
// command. A failed command does not prevent the others.
func (s *Services) ExecuteAll(commands []Command) []error {
	b := batch{commands: commands, errs: make([]error, len(commands)), places: make([]int, len(commands))}
	used := make([]bool, len(s.list))
	for i, c := range commands {
		if b.places[i], b.errs[i] = s.place(c); b.errs[i] == nil {
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

// place returns the index of a command's service, if the command is valid and
// allowed.
func (s *Services) place(c Command) (int, error) {
	i, ok := s.places[c.Service]
	if !ok {
		return 0, fmt.Errorf("gate: no service has the identifier %s", c.Service)
	}
	if !s.rights(c.Grant.Identifier).allow(i) {
		return 0, ErrNotAllowed
	}
	return i, c.validate()
}

// batch is a list of commands that are carried out together. Their services are
// locked.
type batch struct {
	commands []Command
	places   []int // of their services
	errs     []error
}

// each calls f with the commands that have not failed, and their services.
func (b *batch) each(s *Services, f func(c Command, service *Service) error) {
	for i, c := range b.commands {
		if b.errs[i] != nil {
			continue
		}
		service := s.list[b.places[i]]
		if service.closed {
			b.errs[i] = ErrClosed
		} else {
			b.errs[i] = f(c, service)
		}
	}
}

func (b *batch) close(s *Services) {
	peers := map[*Service][]access.Peer{}
	gone := map[*Service][]ended{}
	b.each(s, func(c Command, service *Service) error {
		if c.Action == Close {
			if over := service.removeLeases(c); len(over) > 0 {
				peers[service] = append(peers[service], peersOf(over)...)
				gone[service] = append(gone[service], over...)
			}
		}
		return nil
	})
	var steps []*step
	for service, of := range peers {
		steps = append(steps, service.revocationSteps(of, service.terms.Cut, false)...)
	}
	if len(steps) > 0 {
		applyRevocations(s.enforcers, steps)
	}
	for service, leases := range gone {
		service.cutProved(leases, service.terms.Cut)
		service.logEnded(leases, Requested)
	}
}

func (b *batch) open(s *Services) {
	var requests []*request
	of := map[*request]int{}
	for i, c := range b.commands {
		if b.errs[i] != nil || c.Action != Open {
			continue
		}
		service := s.list[b.places[i]]
		if c.Port != 0 {
			b.errs[i] = service.openPort(c)
			continue
		}
		r := c.request(service)
		requests, of[r] = append(requests, r), i
	}
	open(s.enforcers, requests)
	for _, r := range requests {
		b.errs[of[r]] = r.err
	}
}
