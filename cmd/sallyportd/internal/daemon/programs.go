package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// Programs starts the programs of the configuration, each in the process of its user.
// Package runner has them. The methods may be called concurrently.
type Programs interface {
	program.Starter
	// Begin allows starts, for the server of an instance: see runner.Conn.
	Begin(instance string) error
	// Watch calls lost once for each user whose programs can never be started again,
	// and returns when ctx ends.
	Watch(ctx context.Context, lost func(user string, programs []program.ID, why error))
	// Dropped is how many lines of output of programs were dropped.
	Dropped() uint64
	// Close stops all programs, and returns when none is left, or ctx ends.
	Close(ctx context.Context) error
}

// stopMargin is how much longer than the longest stop_after all programs together may
// take to end.
const stopMargin = 10 * time.Second

// beginPrograms allows the server's programs to be started. This process has the lock
// of the state directory, so no other server of the instance runs.
func (s *Server) beginPrograms(cfg *config.Config) error {
	if s.env.Programs == nil {
		if n := len(cfg.Programs()); n > 0 {
			return fmt.Errorf("the configuration has %d programs, and no process starts them", n)
		}
		return nil
	}
	instance, err := filepath.Abs(cfg.StateDir)
	if err == nil {
		err = s.env.Programs.Begin(instance)
	}
	if err != nil {
		return fmt.Errorf("begin to start programs: %w", err)
	}
	return nil
}

// newCommands returns the commands of all services, with the closing commands that an
// earlier server has left.
func (s *Server) newCommands(cfg *config.Config) *program.Commands {
	var list []program.ServiceCommands
	for i := range cfg.Services {
		c := &cfg.Services[i]
		opening, closing := c.Program(program.OnOpen), c.Program(program.OnClose)
		of := program.ServiceCommands{Service: c.Name, Open: opening != nil, Close: closing != nil}
		switch {
		case of.Open:
			of.Limit = opening.TimeLimit
		case of.Close:
			of.Limit = closing.TimeLimit
		default:
			continue
		}
		list = append(list, of)
	}
	return program.NewCommands(program.CommandsConfig{
		Services: list, Starter: s.env.Programs, Record: state.ClosingRecord{Dir: cfg.StateDir, Now: s.env.Clock.Wall},
		Clock: s.env.Clock, Log: s.env.Log,
	})
}

// ownedCommands are commands of leases that belong to a client, or to none: the
// identifier of an ownerless lease is this process's alone.
type ownedCommands struct{ gate.LeaseCommands }

func (c ownedCommands) Begin(l gate.CommandLease, done func(error)) (gate.CommandedLease, error) {
	if ownerless(l.Client) {
		l.Client = wire.Identifier{}
	}
	return c.LeaseCommands.Begin(l, done)
}

// commandsOf returns the commands of a service; nil: it has none.
func (s *Server) commandsOf(service string) gate.LeaseCommands {
	if c := s.commands.For(service); c != nil {
		return ownedCommands{c}
	}
	return nil
}

// watchPrograms logs the loss of a process that starts programs, until ctx ends. The
// services concerned notice it themselves, and stay closed.
func (s *Server) watchPrograms(ctx context.Context) {
	s.env.Programs.Watch(ctx, func(user string, programs []program.ID, why error) {
		var services []string
		for _, p := range programs {
			if !slices.Contains(services, p.Service) {
				services = append(services, p.Service)
			}
		}
		s.observed.runnerLost(user)
		s.env.Log.Error("runner lost; its services stay closed", "user", user,
			"services", strings.Join(services, ","), "error", why, "hint", "restart the server")
	})
}

// closePrograms stops all programs that still run.
func (s *Server) closePrograms() error {
	if s.env.Programs == nil {
		return nil
	}
	longest := stopMargin
	for _, p := range s.reloads.current.Programs() { // a reload changes none
		longest = max(longest, p.StopAfter+stopMargin)
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	return s.env.Programs.Close(ctx)
}

// opened announces a lease that has taken effect later than its grant.
func (s *Server) opened(l gate.Lease) {
	if !s.feed.Watched() {
		return
	}
	s.feed.Publish(admin.Grant{
		Time: s.env.Clock.Wall(), Client: l.Client.String(), Address: l.Address,
		Services: []string{l.Service}, Operation: l.Operation,
	})
}

// failing returns the closing commands that have failed, for the administrator.
func (s *Server) failing() admin.Failing {
	list, all := s.commands.Failing()
	f := admin.Failing{All: all}
	for _, c := range list {
		of := admin.FailingCommand{
			Service: c.Service, Operation: c.Operation, Peer: c.Peer.Prefix, Zone: c.Peer.Zone, Since: c.Since.UTC(),
			Error: c.Error, Attempts: c.Attempts, Next: c.Next.UTC(),
		}
		if c.Client != (wire.Identifier{}) {
			of.Client = c.Client.String()
		}
		f.Commands = append(f.Commands, of)
	}
	return f
}
