package daemon

import (
	"context"
	"sync"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/verify/wire"
)

// reloads are the changes of a running server. One runs at a time; each is all
// or nothing.
type reloads struct {
	mu      sync.Mutex
	current *config.Config
	clients int
}

// Reload reads the configuration and all that it refers to.
func (s *Server) Reload(ctx context.Context) error {
	return s.change(ctx, "configuration", func(current *config.Config) (*config.Config, clients.List, error) {
		next, err := config.Load(current.Path, config.Secrets)
		if err == nil {
			err = next.Check(s.env.Host)
		}
		if err == nil {
			err = current.Changed(next, s.helper != nil)
		}
		if err != nil {
			return nil, nil, err
		}
		list, err := clients.Load(next.ClientsPath, next.ServiceNames())
		return next, list, err
	})
}

// ReloadClients reads only the clients file.
func (s *Server) ReloadClients(ctx context.Context) error {
	return s.change(ctx, "clients", func(current *config.Config) (*config.Config, clients.List, error) {
		list, err := clients.Load(current.ClientsPath, current.ServiceNames())
		return current, list, err
	})
}

// change applies what read makes of the current configuration, and logs it.
func (s *Server) change(ctx context.Context, what string, read func(*config.Config) (*config.Config, clients.List, error)) error {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	defer Sparingly()()
	cfg, list, err := read(s.reloads.current)
	var p plan
	if err == nil {
		p, err = newPlan(cfg, list)
	}
	if err == nil {
		err = s.apply(ctx, cfg, p)
	}
	if err != nil {
		s.env.Log.Error("nothing reloaded", "what", what, "error", err)
		return err
	}
	s.reloads.current, s.reloads.clients = cfg, len(list)
	s.env.Log.Info("reloaded", "what", what, "clients", len(list), "kernel_filter", s.ingest.Stats().Filter)
	return nil
}

// apply brings a running server in line with a plan. Clients that are new are
// known, and restricted, before their knocks are accepted; those that have left
// get no grant, and lose their leases.
func (s *Server) apply(ctx context.Context, cfg *config.Config, p plan) (err error) {
	commit, abort, err := s.ingest.Prepare(ctx, p.terms)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			abort()
		}
	}()
	var contents []func()
	for i := range cfg.Services {
		apply, err := s.services[i].Load(&cfg.Services[i])
		if err != nil {
			return err
		}
		contents = append(contents, apply)
	}
	if err := s.state.Widen(p.tolerance); err != nil {
		return err
	}
	if err := s.state.Raise(p.slots); err != nil {
		return err
	}
	if s.challenge != nil {
		s.challenge.update(p.operations)
	}
	s.warnUnusable(p)
	isClient := func(id wire.Identifier) bool { return p.isClient[id] || s.challenge.keepsLeases(id) }
	s.gate.Restrict(p.restricted, isClient)
	if err := s.sessions.Update(ctx, p.slots); err != nil {
		return err
	}
	s.gate.Update(p.restricted, isClient, p.leases)
	for _, apply := range contents {
		apply()
	}
	return commit()
}
