package daemon

import (
	"context"
	"time"

	"sallyport/cmd/sallyportd/internal/moved"
	"sallyport/sessions/gate/access"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// Connections of proxies go on in the next server, if the service manager has a store of
// descriptors (package moved). The leases that let them in are in the record, which is
// written afterwards.

const (
	// finishTime is how long requests of web services, and bytes of connections that are
	// passed on, may take when the server stops. The relay resets a connection whose
	// receiver does not take its bytes in the same time.
	finishTime = 5 * time.Second
	// storeTime is how long the manager may take to store the connections, or to remove
	// them.
	storeTime = 5 * time.Second
)

// finish lets the connections of services in this process come to their end, when no further
// grant can come, and stores those that the next server can carry on.
func (s *Server) finish() {
	<-s.interrupted.opened // and connections of the server before this one were carried on
	room := 0
	if s.resumes() {
		room = moved.Room(s.env.Manager)
	}
	ctx, cancel := context.WithTimeout(context.Background(), finishTime+time.Second) // the relay's own time is over before
	defer cancel()
	var list []moved.Connection
	left := 0
	for _, m := range s.gate.Finish(ctx, room > 0) {
		if len(list) == room {
			m.Close() // which resets it, as it would at the end
			left++
			continue
		}
		list = append(list, moved.Connection{Moved: m, Secrets: s.secretsOf(m.Owners)})
	}
	if left > 0 {
		s.env.Log.Warn("too many connections to keep; some end", "connections", left)
	}
	if len(list) == 0 {
		return
	}
	storing, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	if err := moved.Store(storing, s.env.Manager, list); err != nil {
		s.env.Log.Warn("failed to keep connections; they may end", "connections", len(list), "error", err)
		return
	}
	s.env.Log.Info("connections wait for the next server", "connections", len(list))
}

// resumes reports whether the next server opens the leases again.
func (s *Server) resumes() bool {
	cfg := s.observed.inForce.Load().cfg
	return cfg.ResumeLeases && cfg.Fleet == nil
}

// secretsOf returns the fingerprints of the secrets of clients; zero: it is no client, but
// the owner of an operation's leases.
func (s *Server) secretsOf(owners []wire.Identifier) []verify.Fingerprint {
	all := make([]verify.Fingerprint, len(owners))
	for i, id := range owners {
		current, _ := s.inForce.Load().Windows(id)
		all[i] = current.Fingerprint
	}
	return all
}

// takeStored takes the connections that the server before this one has stored, and removes
// them from the store. If that fails, it resets them: a crash of this server would make the
// next one carry on what this one has carried meanwhile.
func (s *Server) takeStored() []moved.Connection {
	if len(s.env.Stored) == 0 {
		return nil
	}
	list, err := moved.Take(s.env.Stored)
	s.env.Stored = nil
	if err != nil {
		s.env.Log.Warn("stored connections unreadable; they end", "error", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	if err := moved.Remove(ctx, s.env.Manager); err != nil {
		s.env.Log.Warn("stored connections not removed; they end", "connections", len(list), "error", err)
		for _, c := range list {
			c.End()
		}
		return nil
	}
	return list
}

// adoptStored carries stored connections on, once the leases that let them in are open
// again. Before it returns, no revocation can come that would miss one.
func (s *Server) adoptStored(list []moved.Connection) {
	if len(list) == 0 {
		return
	}
	if !s.resumes() {
		s.env.Log.Warn("stored connections end; leases are not opened again", "connections", len(list))
		for _, c := range list {
			c.Close()
		}
		return
	}
	if err := s.reopenKept(); err != nil {
		s.env.Log.Error("failed to open recorded leases; retrying", "error", err)
	}
	now, on := s.env.Clock.Wall(), 0
	for _, c := range list {
		client := access.OwnedBy(c.Owners...)
		if err := s.gate.Adopt(c.Moved, s.validOwner(c, now)); err != nil {
			s.env.Log.Warn("connection not carried on", "service", c.Service, "client", client, "reason", err)
			continue
		}
		on++
	}
	if on > 0 {
		s.env.Log.Info("connections carried on", "connections", on)
	}
}

// validOwner returns a function that reports whether an owner of a connection is the client
// that it was. One that is no client has leases of an operation only: then the connection
// requires its lease, which opens again only if the operation is the same.
func (s *Server) validOwner(c moved.Connection, now time.Time) func(wire.Identifier) bool {
	table := s.inForce.Load()
	return func(id wire.Identifier) bool {
		for i, owner := range c.Owners {
			switch {
			case owner != id:
			case ownerless(id):
				return c.Leased && len(c.Owners) == 1
			default:
				return c.Secrets[i] != 0 && table.Accepts(id, c.Secrets[i], now)
			}
		}
		return false
	}
}
