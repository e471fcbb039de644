package gate

import (
	"errors"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
)

// A lease of a service with LeaseCommands is pending until its opening command has
// succeeded. It exists: it is listed, extended, displaced, revoked and expires like
// others. But it admits no peer, and if it ends before, it never does. Each lease
// whose commands have begun reports its end to them, once, in logEnded.

// errPending is why a pending lease admits no peer.
var errPending = errors.New("its opening command has not succeeded yet")

// begin begins the commands of a request that begins a lease. The lease is added
// before the service's lock is released, which the result of the commands waits for.
func (r *request) begin() error {
	s := r.service
	if s.commands == nil || s.leases.find(r.grant.Identifier, r.peer) != nil {
		return nil
	}
	var le *lease // the service's lock guards it
	commands, err := s.commands.Begin(r.commandLease(), func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.commandDone(le, err)
	})
	if err != nil {
		return err
	}
	r.begins = func() {
		le = s.leases.find(r.grant.Identifier, r.peer)
		le.commands = commands
	}
	return nil
}

func (r *request) commandLease() CommandLease {
	l := CommandLease{
		Client: r.grant.Identifier, Operation: r.label, Address: r.grant.Address, Peer: r.peer, Port: r.peer.Port, Resumed: r.resumed,
	}
	if !r.keeps {
		l.Until = r.service.wall(r.until)
	}
	return l
}

// wall returns a time of clock.Boot by the wall clock.
func (s *Service) wall(t time.Time) time.Time { return s.clock.Wall().Add(t.Sub(s.clock.Boot())) }

// commandDone makes a pending lease take effect, or ends it. The caller holds the lock.
func (s *Service) commandDone(le *lease, err error) {
	if s.closed || le == nil || !le.pending || s.leases.find(le.client, le.peer) != le {
		return // it has ended meanwhile
	}
	if err != nil {
		le.commands = nil // which know that
		s.leases.Remove(le.client, le.peer)
		s.log.Error("opening command failed", "service", s.Name, "client", le.client, "address", access.AddressText(le.address), "error", err)
		s.logEnded([]ended{endedOf(le)}, openFailed)
		return
	}
	var steps []*step
	for _, p := range s.admits(le.peer) {
		steps = append(steps, &step{service: s, peer: p, before: s.until(p)})
	}
	s.leases.activate(le)
	for _, st := range steps {
		st.after = s.until(st.peer)
	}
	enforce(s.enforcers, steps)
	if s.anyone {
		s.anyoneUntil = s.leases.Last()
	}
	for _, st := range steps {
		if st.err != nil {
			s.log.Error("failed to open for a lease", "service", s.Name, "peer", st.peer, "error", st.err)
			s.leases.Remove(le.client, le.peer)
			s.shortened = true
			s.revokePeers([]access.Peer{le.peer}, s.terms.Cut, false)
			s.logEnded([]ended{endedOf(le)}, openFailed)
			return
		}
	}
	if s.obstacle() == nil {
		s.takesEffect(le)
	}
}

// activate makes a pending lease admit its peer.
func (l *Leases) activate(le *lease) {
	le.pending = false
	l.addEnd(le, le.until)
}

// takesEffect logs and reports a lease that has taken effect after its grant.
func (s *Service) takesEffect(le *lease) {
	le.took = true
	until := le.until
	if le.kept {
		until = time.Time{}
	}
	s.logOpened(sessions.Grant{Identifier: le.client, Address: le.address}, le.peer, until)
	s.report(le)
}

// report reports a lease in effect: see ServiceConfig.Opened.
func (s *Service) report(le *lease) {
	if s.opened != nil && s.defers() {
		s.opened(s.listed(le))
	}
}
