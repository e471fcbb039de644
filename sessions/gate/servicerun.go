package gate

import (
	"context"
	"time"
)

// Run ends leases and random ports at their time, and keeps the port bound. When
// ctx ends, it closes the enforcers for good and returns nil.
func (s *Service) Run(ctx context.Context) error {
	keeping := make(chan struct{})
	go func() {
		defer close(keeping)
		s.keepPort(ctx)
	}()
	defer func() { <-keeping }() // ctx has ended
	defer s.runBackend(ctx)()
	defer s.close()
	// Timers stand still while the host is suspended, as do the kernel's
	// timeouts of its elements: check immediately after the resume.
	if s.clock.OnJump != nil {
		go s.clock.OnJump(ctx, s.wakeRun)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		if pause, ok := s.sweep(); ok {
			timer.Reset(pause)
		}
	}
}

// sweep ends expired leases and ports, and returns the time until the next
// check; false if there is nothing to check.
func (s *Service) sweep() (pause time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Boot()
	s.renew(now)
	s.expire(now, expired)
	s.endPorts(func(p *openPort) bool { return !p.ended && !now.Before(p.until) }, s.terms.Cut, expired)
	needed := s.updateNeed()
	switch next, ok := s.next(); {
	case ok:
		pause = pauseBefore(next.Sub(s.clock.Boot()))
	case needed: // until the last connection ends
		pause = maxPause
	default:
		s.due = time.Time{}
		return 0, false
	}
	s.due = now.Add(pause)
	return pause, true
}

// pauseBefore returns the pause before the next check, if the first end is so
// far away.
func pauseBefore(left time.Duration) time.Duration {
	if left > maxPause {
		// Not so close to the end that minPause would delay it.
		left = min(left-minPause, maxPause)
	}
	return max(left, minPause)
}

func (s *Service) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = s.appendLocked(nil, func(Lease) bool { return true })
	s.closed = true
	for _, e := range s.enforcers {
		if err := e.Close(); err != nil {
			s.log.Error("failed to close an enforcer", "service", s.Name, "error", err)
		}
	}
	s.logEnded(s.leases.all(), Stopped)
	for _, p := range s.ports {
		p.finish(Stopped)
	}
	s.ports = nil
	s.updateNeed()
}

// runBackend runs the Backend. The function that it returns stops it, and waits for
// its end.
func (s *Service) runBackend(ctx context.Context) (stop func()) {
	if s.backend == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.backend.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}
