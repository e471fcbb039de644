package gate

import (
	"slices"

	"sallyport/sessions/gate/access"
)

// Reapply makes an enforcer that has begun again, closed, admit the peers of all leases in
// force, for the time that they have left. It returns how many leases these are. The other
// enforcers have admitted them all the time.
func (s *Services) Reapply(e access.Enforcer) (leases int) {
	for _, service := range s.list {
		leases += service.reapply(e)
	}
	return leases
}

func (s *Service) reapply(e access.Enforcer) (leases int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.obstacle() != nil || !slices.Contains(s.enforcers, e) {
		return 0 // without the obstacle, all enforcers admit them
	}
	return len(s.admitAt([]access.Enforcer{e}))
}
