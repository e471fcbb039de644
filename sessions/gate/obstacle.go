package gate

import (
	"errors"
	"strings"

	"sallyport/sessions/gate/access"
)

// obstacle is a kind of reason for which a service is closed, whatever its leases
// are: no enforcer admits a peer while there is one. Leases begin and end
// nevertheless, and take effect when the last one is gone.
type obstacle uint8

// The obstacles.
const (
	portUnbound     obstacle = iota // another program may have the port
	programNotReady                 // of the Backend
	noCommands                      // closing commands of open leases could not run
	numObstacles
)

// setObstacle sets why an obstacle keeps the service closed; nil: it does not. The
// caller holds the lock.
func (s *Service) setObstacle(o obstacle, err error) {
	if s.closed {
		return
	}
	was, portsWere := s.obstacle(), s.portObstacle()
	s.obstacles[o] = err
	s.counts.note(o, err, s.whyWaits())
	switch now := s.obstacle(); {
	case was == nil && now != nil:
		s.excludeLeases()
	case was != nil && now == nil:
		s.admitLeases()
	}
	if now := s.portObstacle(); (portsWere == nil) != (now == nil) {
		s.updatePorts()
	}
}

// watchObstacle is setObstacle for a part that reports changes on its own goroutine.
func (s *Service) watchObstacle(o obstacle) func(error) {
	return func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.setObstacle(o, err)
	}
}

// obstacle returns why the service is closed, whatever its leases are; nil: it is
// not.
func (s *Service) obstacle() error {
	for _, err := range s.obstacles {
		if err != nil {
			return err
		}
	}
	return nil
}

// Waiting returns why services stay closed even for clients with a lease, by the
// names of the services: a port is not bound, or a program is not ready.
func (s *Services) Waiting() map[string]string {
	waiting := map[string]string{}
	for _, service := range s.list {
		if why := service.waits(); why != "" {
			waiting[service.Name] = why
		}
	}
	return waiting
}

func (s *Service) waits() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whyWaits()
}

// whyWaits is waits. The caller holds the lock.
func (s *Service) whyWaits() string {
	var why []string
	for _, err := range s.obstacles {
		if err != nil && !errors.Is(err, ErrIdle) {
			why = append(why, err.Error())
		}
	}
	return strings.Join(why, "; ")
}

// admitLeases makes the enforcers admit the peers of all leases.
func (s *Service) admitLeases() {
	for _, le := range s.admitAt(s.enforcers) {
		if !le.took {
			s.takesEffect(le)
		}
	}
}

// admitAt makes some of the enforcers admit the peers of all leases. It returns the
// leases that are in force there.
func (s *Service) admitAt(enforcers []access.Enforcer) (admitted []*lease) {
	now := s.clock.Boot()
	var steps []*step
	for _, p := range s.admitted() {
		if until := s.until(p); now.Before(until) {
			steps = append(steps, &step{service: s, peer: p, after: until})
		}
	}
	enforce(enforcers, steps)
	failed := map[access.Peer]bool{}
	for _, st := range steps {
		if st.err != nil {
			failed[st.peer] = true
			s.log.Error("failed to open for a lease", "service", s.Name, "peer", st.peer, "error", st.err)
		}
	}
	for _, le := range s.leases.byEnd {
		in := !le.pending && now.Before(le.until)
		for _, p := range s.admits(le.peer) {
			in = in && !failed[p]
		}
		if in {
			admitted = append(admitted, le)
		}
	}
	return admitted
}

// excludeLeases makes the enforcers admit no peer. Connections continue.
func (s *Service) excludeLeases() {
	var steps []*step
	for _, p := range s.admitted() {
		steps = append(steps, &step{service: s, peer: p, after: s.until(p), ends: true})
	}
	enforce(s.enforcers, steps)
	for _, st := range steps {
		if st.err != nil {
			s.log.Error("failed to shorten or end a lease", "service", s.Name, "peer", st.peer, "error", st.err)
		}
	}
}

// admitted returns the peers that the leases admit.
func (s *Service) admitted() (peers []access.Peer) {
	if s.knockers {
		peers = s.peersOf(false)
	}
	if s.anyone && !s.leases.Last().IsZero() {
		peers = append(peers, access.Anyone4, access.Anyone6)
	}
	return peers
}
