package gate

import (
	"context"
	"time"

	"sallyport/sessions/gate/hostevents"
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
// the program that has the port.
func (s *Service) bindPort() error {
	if s.bind == nil {
		return nil
	}
	err := s.bind()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	was := s.obstacles[portUnbound]
	s.setObstacle(portUnbound, err)
	switch {
	case err == nil && was != nil:
		s.log.Info("service port bound on retry", "service", s.Name, "with_leases", len(s.leases.byClient))
	case err != nil && was == nil:
		s.log.Error("service port unavailable; service stays closed; retrying", "service", s.Name, "error", err)
	}
	return err
}

// isBound reports whether the service has its port.
func (s *Service) isBound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.obstacles[portUnbound] == nil
}

// addressInterval is the longest time until keepPort detects a change of addresses that
// the kernel did not report.
const addressInterval = 10 * time.Second

// keepPort keeps the port bound until ctx ends: it binds the port again when the
// host's addresses or interfaces change, and retries after a failure.
func (s *Service) keepPort(ctx context.Context) {
	if s.bind == nil {
		return
	}
	changed := make(chan struct{}, 1)
	// Without a pause: until the port is held at a new address, the kernel answers there.
	go hostevents.Watch(ctx.Done(), hostevents.Addresses, 0, addressInterval, func() {
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
