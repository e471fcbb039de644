package daemon

import (
	"context"
	"maps"
	"sync"

	"sallyport/sessions/fleet/roster"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// With a million clients, it takes seconds to put a list in force. A list that comes
// meanwhile, and takes rights away, does not wait: these rights are removed from what is in
// force, and then also from the change that is being made, since that would give them back.

// urgent is the rights that lists have taken away which are newer than the change that is
// being made.
type urgent struct {
	mu   sync.Mutex // held while rights are removed, and while a change takes effect
	less map[wire.Identifier]urgentRights
}

// urgentRights is what a client keeps.
type urgentRights struct {
	version  uint64 // of the list
	services []access.ServiceID
}

// clear forgets all, before a change that starts from a whole list.
func (u *urgent) clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.less)
}

// add adds what clients keep by a list. The caller holds the lock.
func (u *urgent) add(version uint64, less map[wire.Identifier][]access.ServiceID) {
	if u.less == nil {
		u.less = map[wire.Identifier]urgentRights{}
	}
	for id, services := range less {
		u.less[id] = urgentRights{version, services}
	}
}

// newerThan returns the rights of lists after a version, and forgets those before: the list
// of that version has them. The caller holds the lock.
func (u *urgent) newerThan(version uint64) map[wire.Identifier][]access.ServiceID {
	maps.DeleteFunc(u.less, func(_ wire.Identifier, r urgentRights) bool { return r.version <= version })
	less := make(map[wire.Identifier][]access.ServiceID, len(u.less))
	for id, r := range u.less {
		less[id] = r.services
	}
	return less
}

// narrowNewer removes rights that a list takes away which is newer than the one that is
// being put in force. That one may have clients that are not in force yet.
func (s *Server) narrowNewer(ctx context.Context, version uint64, changes []roster.Change) {
	s.urgent.mu.Lock()
	defer s.urgent.mu.Unlock()
	t := s.takenAway(changes, s.inForce.Load())
	s.urgent.add(version, t.less)
	s.urgent.add(version, t.expired)
	t.narrow(ctx, s) // it only fails when ctx ends
}

// commitNarrowed is commit without the rights that newer lists have taken away.
func (s *Server) commitNarrowed(ctx context.Context, c change) error {
	s.urgent.mu.Lock()
	defer s.urgent.mu.Unlock()
	var version uint64
	if s.copy != nil {
		version = s.copy.Loaded()
	}
	less := s.urgent.newerThan(version)
	if len(less) == 0 {
		return s.commit(ctx, c)
	}
	if err := c.access.Narrow(maps.All(less)); err != nil {
		c.abort()
		return err
	}
	if err := s.commit(ctx, c); err != nil {
		return err
	}
	return s.narrow(ctx, less, gate.Revoked) // its sessions and operations
}
