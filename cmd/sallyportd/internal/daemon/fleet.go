package daemon

import (
	"context"
	"fmt"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/fleet"
	"sallyport/verify/wire"
)

// joinFleet opens the record that this server shares with others, if the configuration
// has a fleet. It does not wait for etcd.
func (s *Server) joinFleet(cfg *config.Config) (err error) {
	if cfg.Fleet == nil {
		return nil
	}
	etcd := cfg.Fleet.Etcd
	etcd.Now, etcd.Log = s.env.Clock.Monotonic, s.env.Log
	s.fleet, err = fleet.Open(fleet.Config{
		Cluster: etcd, Dir: cfg.StateDir, Local: s.state, Registered: s.leased.registered, Wall: s.env.Clock.Wall, Log: s.env.Log,
	})
	if err != nil {
		return fmt.Errorf("join the fleet: %w", err)
	}
	return nil
}

// journal returns the record of nonces: that of the fleet, or of this host.
func (s *Server) journal() sessions.Journal {
	switch {
	case s.list != nil:
		return &listJournal{s.fleet, s.listDecided}
	case s.fleet != nil:
		return s.fleet
	}
	return s.state
}

// shareUses makes the fleet count the uses of operations.
func (s *Server) shareUses() {
	if s.fleet == nil {
		return
	}
	s.uses.fleet = s.fleet
	s.fleet.OnGap(func() {
		s.uses.lose(func(err error) { s.env.Log.Error("failed to write the record of uses", "error", err) })
	})
}

// followFleet learns the nonces that others use, until ctx ends.
func (s *Server) followFleet(ctx context.Context) { s.fleet.Run(ctx, s.sessions.Learn) }

// leaveFleet closes the connection. It must end before the state directory is closed.
func (s *Server) leaveFleet() error {
	if s.fleet == nil {
		return nil
	}
	if s.presence != nil {
		s.presence.Close()
	}
	return s.fleet.Close()
}

func fleetCounters(f fleet.Stats) counters {
	return counters{{"fleet_unavailable", f.Unavailable}, {"fleet_gaps", f.Gaps}}
}

// registered reports whether a client is in a table that verifiers use.
func (l *leased) registered(id wire.Identifier) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.tables {
		if _, ok := t.Secrets(id); ok {
			return true
		}
	}
	return false
}
