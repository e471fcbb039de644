package daemon

import (
	"errors"
	"fmt"
	"slices"

	"sallyport/sessions"
	"sallyport/sessions/gate"
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
	opened := s.openNow(part(opening))
	s.gate.note(opened, 0)
	for j, err := range opened {
		errs[opening[j]] = err
	}
	if _, err := s.kept.flush(); err != nil {
		for _, i := range closing {
			errs[i] = errors.Join(errs[i], fmt.Errorf("closed, but a restart may open it again: %w", err))
		}
	}
	return errs
}

// openNow executes commands that open, unless the list of clients may be old.
func (s *Server) openNow(commands []command) []error {
	if err := s.listIsOld(); err != nil {
		return slices.Repeat([]error{err}, len(commands))
	}
	return s.openRecording(commands)
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
		if o.Action == gate.Open && errs[i] == nil && !s.gate.defers(o.service) {
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
		// A lease for any address is of a service whose connections the server carries.
		if o.Action == gate.Open && o.Port == 0 && !o.AnyAddress && o.UntilClosed == untilClosed {
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
