package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
)

// reloads are the changes of a running server. One runs at a time; each is all
// or nothing.
type reloads struct {
	mu      sync.Mutex
	current *config.Config
	clients int
}

// Reload reads the configuration and all that it refers to, and returns how many
// clients there are. An error leaves the old configuration in force everywhere,
// unless it is an admin.StoppingError.
func (s *Server) Reload(ctx context.Context) (n int, err error) {
	return s.change(ctx, "configuration", func(current *config.Config) (*config.Config, clients.List, error) {
		next, err := config.Load(current.Path, config.All)
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

// ReloadClients is Reload for the clients file alone.
func (s *Server) ReloadClients(ctx context.Context) (n int, err error) {
	return s.change(ctx, "clients", func(current *config.Config) (*config.Config, clients.List, error) {
		list, err := clients.Load(current.ClientsPath, current.ServiceNames())
		return current, list, err
	})
}

// change applies what read makes of the current configuration, and logs it.
func (s *Server) change(ctx context.Context, what string, read func(*config.Config) (*config.Config, clients.List, error)) (int, error) {
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
	var stopping *admin.StoppingError
	switch {
	case errors.As(err, &stopping):
		s.env.Log.Error("reload failed half-way; the server stops", "what", what, "error", err)
		return 0, err
	case err != nil:
		s.env.Log.Error("nothing reloaded", "what", what, "error", err)
		return 0, err
	}
	s.reloads.current, s.reloads.clients = cfg, len(list)
	s.env.Log.Info("reloaded", "what", what, "clients", len(list), "kernel_filter", s.ingest.Stats().Filter)
	return len(list), nil
}

// apply brings a running server in line with a plan. It is decided whole before
// anything changes: what can fail, fails in a step's prepare, and then the old
// configuration is in force everywhere.
func (s *Server) apply(ctx context.Context, cfg *config.Config, p plan) error {
	c := change{cfg: cfg, plan: p}
	for _, step := range s.steps {
		if err := step.prepare(ctx, &c); err != nil {
			c.abort()
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	s.warnUnusable(p)
	return s.commit(ctx, c)
}
