package gate

import (
	"context"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/heldport"
)

// The pauses between two attempts to bind the port of a service: the first one,
// which doubles after each failure, and the longest one.
const (
	minBindPause = time.Second
	maxBindPause = 8 * time.Second
)

// BindPorts binds the ports of all services, closed. Run retries those that
// fail: another program may have the port, or the host does not have the address
// or the interface yet.
func (s *Services) BindPorts() {
	for _, service := range s.list {
		service.bindPort()
	}
}

// bindPort binds the service's port, or checks that it is still bound. While the
// port is not bound, no enforcer admits a peer: the firewall would admit it to
// the program that has the port. Leases begin and end nevertheless, and take
// effect when the port is bound.
func (s *Service) bindPort() error {
	if s.bind == nil {
		return nil
	}
	err := s.bind()
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.unbound
	switch {
	case s.closed:
		return nil
	case err == nil && was == nil:
		return nil
	case err == nil:
		s.unbound = nil
		s.admitLeases()
		s.log.Info("service port bound on retry", "service", s.Name, "with_leases", len(s.leases.byClient))
	case was == nil:
		s.unbound = err
		s.excludeLeases()
		s.log.Error("service port unavailable; service stays closed; retrying", "service", s.Name, "error", err)
	default:
		s.unbound = err
	}
	return err
}

// isBound reports whether the service can open.
func (s *Service) isBound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unbound == nil
}

// Waiting returns why the ports of services are not bound, by the names of the
// services.
func (s *Services) Waiting() map[string]string {
	waiting := map[string]string{}
	for _, service := range s.list {
		service.mu.Lock()
		if service.unbound != nil {
			waiting[service.Name] = service.unbound.Error()
		}
		service.mu.Unlock()
	}
	return waiting
}

// admitLeases makes the enforcers admit the peers of all leases.
func (s *Service) admitLeases() {
	var steps []*step
	for _, p := range s.admitted() {
		if until := s.until(p); !until.IsZero() {
			steps = append(steps, &step{service: s, peer: p, after: until})
		}
	}
	enforce(s.enforcers, steps)
	for _, st := range steps {
		if st.err != nil {
			s.log.Error("failed to open for a lease", "service", s.Name, "peer", st.peer, "error", st.err)
		}
	}
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
		peers = s.leases.Peers()
	}
	if s.anyone && s.leases.Len() > 0 {
		peers = append(peers, access.Anyone4, access.Anyone6)
	}
	return peers
}

// keepPort keeps the port bound until ctx ends: it binds the port again when the
// host's addresses or interfaces change, and retries after a failure.
func (s *Service) keepPort(ctx context.Context) {
	if s.bind == nil {
		return
	}
	changed := make(chan struct{}, 1)
	go heldport.OnAddresses(ctx.Done(), func() {
		select {
		case changed <- struct{}{}:
		default: // keepPort is already about to check
		}
	})
	for pause := minBindPause; ; {
		var retry <-chan time.Time
		if s.bindPort() != nil {
			retry = time.After(pause)
			pause = min(2*pause, maxBindPause)
		} else {
			pause = minBindPause
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-retry:
		}
	}
}
