package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// execute executes the commands of operations: first those that close. A lease
// without an end is recorded before it opens. One that a command closes is closed
// first, and then removed from the record; the command succeeds when both are done.
func (s *Server) execute(commands []command) []error {
	s.kept.serial.Lock()
	defer s.kept.serial.Unlock()
	var closing, opening []int
	for i, c := range commands {
		if c.Action == gate.Close {
			closing = append(closing, i)
		} else {
			opening = append(opening, i)
		}
	}
	errs := make([]error, len(commands))
	part := func(of []int) (some []command) {
		for _, i := range of {
			some = append(some, commands[i])
		}
		return some
	}
	for j, err := range s.executeRecorded(part(closing)) {
		if errs[closing[j]] = err; err == nil {
			s.kept.end(commands[closing[j]].at) // also if the gate has not opened it again
		}
	}
	for j, err := range s.openRecording(part(opening)) {
		errs[opening[j]] = err
	}
	if _, err := s.kept.flush(); err != nil {
		for _, i := range closing {
			errs[i] = errors.Join(errs[i], fmt.Errorf("closed, but a restart may open it again: %w", err))
		}
	}
	return errs
}

// openRecording executes commands that open, and records leases without an end
// before that. It returns the error of each.
func (s *Server) openRecording(commands []command) []error {
	var list []keptLease
	for _, c := range commands {
		if c.keeps != nil {
			list = append(list, *c.keeps)
		}
	}
	if len(list) == 0 {
		return s.executeRecorded(commands)
	}
	failed, undo := s.kept.put(list)
	errs := make([]error, len(commands))
	var ready []command
	var of, entry []int // of each: the command, and its place in the list or -1
	n := 0
	for i, c := range commands {
		place := -1
		if c.keeps != nil {
			place = n
			n++
			if errs[i] = failed[place]; errs[i] != nil {
				continue
			}
		}
		ready, of, entry = append(ready, c), append(of, i), append(entry, place)
	}
	results := s.executeRecorded(ready)
	for j, err := range slices.Backward(results) { // two may be of the same lease
		if errs[of[j]] = err; err != nil && entry[j] >= 0 {
			undo(entry[j])
		}
	}
	return errs
}

// executeRecorded executes commands whose leases are recorded, and returns the error
// of each. A command fails if the address that it lets in cannot be recorded.
func (s *Server) executeRecorded(commands []command) []error {
	errs := make([]error, len(commands))
	if s.carried != nil {
		s.admitCommands(commands, errs, false)
		s.admitCommands(commands, errs, true)
	}
	var all []gate.Command
	var of []int
	for i, o := range commands {
		if errs[i] == nil {
			all, of = append(all, o.Command), append(of, i)
		}
	}
	for j, err := range s.gate.ExecuteAll(all) {
		errs[of[j]] = err
	}
	for i, o := range commands {
		if o.Action == gate.Open && errs[i] == nil {
			s.gate.announce(o.Grant, o.operation, []string{o.service})
		}
	}
	return errs
}

// admitCommands records the addresses that commands let in, with or without an end,
// and sets the errors of the commands if that fails.
func (s *Server) admitCommands(commands []command, errs []error, untilClosed bool) {
	var grants []sessions.Grant
	var of []int
	for i, o := range commands {
		if o.Action == gate.Open && o.Port == 0 && o.UntilClosed == untilClosed {
			grants, of = append(grants, o.Grant), append(of, i)
		}
	}
	if len(grants) == 0 {
		return
	}
	if err := s.admitFor(grants, untilClosed); err != nil {
		for _, i := range of {
			errs[i] = err
		}
	}
}

// openKept reads the recorded leases, and drops those that would not be granted now.
// The others open when the server runs.
func (s *Server) openKept(cfg *config.Config, o operations) {
	k, list := loadKept(cfg.StateDir, s.env.Clock.Wall(), s.env.Log)
	for _, l := range list {
		reason := o.refuses(l)
		if reason == "" && l.Peer.Zone != "" {
			reason = "an address of a link may be on another link after a restart"
		}
		if reason != "" {
			s.logDropped(l, reason)
			continue
		}
		k.leases[o.byID[l.Operation].at(l.Address)] = l
	}
	s.kept = k
	k.flush() // it logs errors
}

func (s *Server) logDropped(l state.Kept, reason string) {
	s.env.Log.Warn("lease without an end dropped", "service", l.Service, "operation", l.Operation, "address", l.Address, "reason", reason)
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
		if now.refuses(l.Kept) != "" {
			continue // its client is missing, or lost the right a moment ago
		}
		grant := sessions.Grant{Identifier: l.at.client, Address: l.Address}
		commands = append(commands, command{service: l.Service, operation: l.Operation, at: l.at, Command: gate.Command{
			Service: l.at.service, Grant: grant, UntilClosed: true, Operation: l.Operation,
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
