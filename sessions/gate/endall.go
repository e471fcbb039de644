package gate

import "time"

// EndAll ends all leases and random ports, as their own end would: what made them
// real is gone.
func (s *Services) EndAll() {
	for _, service := range s.list {
		service.endAll()
	}
}

func (s *Service) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports.end(func(p *openPort) bool { return !p.ended }, s.terms.Cut)
	if last := s.leases.Last(); !last.IsZero() {
		s.ended(s.leases.Expire(last.Add(time.Nanosecond)), s.terms.Cut)
	}
}
