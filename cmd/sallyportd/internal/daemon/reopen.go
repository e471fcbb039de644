package daemon

import (
	"context"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// openKept reads the recorded leases, and drops those that would not be granted now.
// The others open when the server runs.
func (s *Server) openKept(cfg *config.Config, o operations) {
	k, list := loadKept(cfg.StateDir, s.env.Clock.Wall(), s.env.Log)
	var interrupted []state.Kept
	for _, l := range list {
		if l.End != (state.End{}) {
			interrupted = append(interrupted, l)
			continue
		}
		reason := o.refuses(l)
		if reason == "" && l.Peer.Zone != "" && l.Peer != access.AnyAddress {
			reason = "an address of a link may be on another link after a restart"
		}
		if reason != "" {
			s.logDropped(l, reason)
			continue
		}
		k.leases[o.byID[l.Operation].at(l.Address)] = l
	}
	s.kept = k
	if err, _ := k.flush(); err != nil { // it logs errors
		// They may be in the file, so that the start after this one could open leases that
		// have been revoked meanwhile.
		return
	}
	s.chooseInterrupted(cfg, o, interrupted)
}

func (s *Server) logDropped(l state.Kept, reason string) {
	s.env.Log.Warn("lease without an end dropped", "service", l.Service, "operation", l.Operation, "address", access.AddressText(l.Address), "reason", reason)
}

// keptEnded returns the function that a service calls when a lease without an end
// has ended for good.
func (s *Server) keptEnded(id access.ServiceID) func(wire.Identifier, access.Peer) {
	return func(client wire.Identifier, p access.Peer) { s.kept.end(address{client, id, p}) }
}

// The times between two checks of the leases without an end: whether the gate has
// all of them, and while the record cannot be written.
const (
	keptInterval = 5 * time.Second
	keptRetry    = time.Second
)

// watchKept opens the recorded leases, at once and whenever the gate has lost one,
// and writes the record, until ctx ends.
func (s *Server) watchKept(ctx context.Context) {
	failed := ""
	for {
		s.kept.flush() // it logs errors
		if err := s.reopenKept(); err != nil && err.Error() != failed {
			failed = err.Error()
			s.env.Log.Error("failed to open recorded leases; retrying", "error", err)
		} else if err == nil {
			failed = ""
		}
		pause := keptInterval
		if s.kept.isFailing() {
			pause = keptRetry
		}
		select {
		case <-s.kept.wake:
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// reopenKept opens the recorded leases that are not in force. It returns the first
// error.
func (s *Server) reopenKept() error {
	if s.challenge == nil || s.holder != nil && !s.holder.Held() {
		return nil // the next holder begins by closing everything
	}
	s.kept.serial.Lock()
	defer s.kept.serial.Unlock()
	now := s.challenge.operations.Load()
	var commands []command
	for _, l := range s.kept.all() {
		if has, kept := s.gate.HasLease(l.at.service, l.at.client, l.at.peer); has && kept {
			continue
		}
		if !s.kept.has(l.at) {
			continue // the gate has ended it since the list was made
		}
		if !s.reopens(l.at.client) || now.refuses(l.Kept) != "" {
			continue // its client is missing, or lost the right a moment ago
		}
		grant := sessions.Grant{Identifier: l.at.client, Address: l.Address}
		commands = append(commands, command{service: l.Service, operation: l.Operation, at: l.at, Command: gate.Command{
			Service: l.at.service, Grant: grant, AnyAddress: l.at.peer == access.AnyAddress, UntilClosed: true, Operation: l.Operation, Resumed: true,
		}})
	}
	if len(commands) == 0 {
		return nil
	}
	opened := 0
	var first error
	for _, err := range s.executeRecorded(commands) {
		if err == nil {
			opened++
		} else if first == nil {
			first = err
		}
	}
	if opened > 0 {
		s.env.Log.Info("recorded leases opened again", "with_leases", opened)
	}
	return first
}

// reviewKept ends the leases without an end that would not be granted now, except
// those of clients that are missing, and wait.
func (s *Server) reviewKept(o operations, waits func(wire.Identifier) bool) {
	s.kept.serial.Lock()
	defer s.kept.serial.Unlock()
	over := map[address]bool{}
	for _, l := range s.kept.all() {
		if waits(l.at.client) {
			continue
		}
		if reason := o.refuses(l.Kept); reason != "" {
			over[l.at] = true
			s.logDropped(l.Kept, reason)
		}
	}
	if len(over) == 0 {
		return
	}
	s.gate.EndLeases(func(l gate.Lease) bool { return over[addressOfLease(l)] }, true, gate.NotAllowedNow)
	for at := range over {
		s.kept.end(at)
	}
	s.kept.flush() // it logs errors
}

func addressOfLease(l gate.Lease) address { return address{l.Client, access.ID(l.Service), l.Peer} }
