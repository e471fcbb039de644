package gate

// A service needs its program from the grant of its first lease, pending or not, so
// that the program starts while an opening command runs, until the last lease and the
// last random port with its connection have ended; and if connections outlive leases,
// until the last connection has.

// connCounter is an enforcer that counts its connections.
type connCounter interface {
	Connections() int
}

// updateNeed reports to the Backend whether the service needs it, and returns that.
// The caller holds the lock.
func (s *Service) updateNeed() bool {
	if s.backend == nil {
		return false
	}
	s.ports.prune()
	needed := !s.closed && (s.leases.Len() > 0 || len(s.ports) > 0 || !s.terms.Cut && s.connected())
	s.backend.Need(needed)
	return needed
}

// connected reports whether an enforcer has connections.
func (s *Service) connected() bool {
	for _, e := range s.enforcers {
		if c, ok := e.(connCounter); ok && c.Connections() > 0 {
			return true
		}
	}
	return false
}

// Connections returns the number of connections, through drawn and random ports.
func (r *Rotating) Connections() (n int) {
	r.Each(func(p DrawnPort) {
		if c, ok := p.(connCounter); ok {
			n += c.Connections()
		}
	})
	return n
}
