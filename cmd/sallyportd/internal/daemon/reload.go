package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// reloads are the changes of a running server. One runs at a time. Each takes
// effect as a whole or not at all, except for rights that are removed.
type reloads struct {
	mu      sync.Mutex
	current *config.Config
	clients int
	table   *verify.KeyTable // of the clients in force
	file    clients.State    // that they were read from
	// rotations have the ends of old secrets, by client.
	rotations map[wire.Identifier]time.Time
	// expiries are when clients expire. The leases of the first `expired` of them have ended.
	expiries expiries
	expired  int
	revive   time.Time // of clock.Monotonic: no earlier is the file read for expired clients that are none
	missing  missing
	failed   string // the error, in the log already, of the last change without a command
}

// cause is why a change is tried. The zero value is a command of the administrator:
// the files are complete.
type cause struct {
	noticed bool            // the clients file has changed, and may be incomplete
	revoked wire.Identifier // but this client must leave; zero: none
	// followed: the list of clients in etcd has changed. It is complete, and its package logs
	// why it is refused.
	followed bool
	// trial is how long newly hidden services are on trial; nil: they are not.
	trial *time.Duration
}

// mayLack reports whether the clients may be incomplete.
func (s *Server) mayLack(why cause) bool { return why.noticed && s.list == nil }

// Reload reads the configuration and all files that it names. If it fails, the old
// configuration is in force everywhere, unless the error is an admin.StoppingError.
func (s *Server) Reload(ctx context.Context) (admin.Reloaded, error) { return s.reload(ctx, cause{}) }

func (s *Server) reload(ctx context.Context, why cause) (admin.Reloaded, error) {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	done, err := s.change(ctx, why, "configuration", func(current *config.Config) (*config.Config, clients.Loaded, error) {
		next, err := s.loadConfig(current.Path)
		if err == nil {
			err = next.Check(s.env.Host)
		}
		if err == nil {
			err = s.changedOnTrial(why.trial, current.Changed(next, s.holder != nil))
		}
		if err != nil {
			return nil, clients.Loaded{}, err
		}
		loaded, err := s.loadClients(next)
		return next, loaded, err
	})
	if err == nil && s.list != nil {
		s.reloadedList()
	}
	if err == nil && why.trial != nil {
		s.gate.knocked.Store(false) // an earlier knock proves nothing for this trial
		done.OnTrial, err = s.onTrial()
	}
	return done, err
}

// loadConfig reads a configuration, and all files that it names, if this process can still open
// them.
func (s *Server) loadConfig(path string) (*config.Config, error) {
	next, err := config.Load(path, config.Alone)
	if err == nil {
		err = s.env.Sandbox.Admits(next.Files())
	}
	if err != nil {
		return nil, err
	}
	return config.Load(path, config.All)
}

// ReloadClients is Reload for the clients file only. Clients that it lacks are not
// cut off at once: another program may still be writing the file.
func (s *Server) ReloadClients(ctx context.Context) (admin.Reloaded, error) {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	return s.change(ctx, cause{noticed: true}, "clients", s.readClients)
}

// change applies the configuration and clients that read returns, and logs the
// result. The caller holds the lock.
func (s *Server) change(ctx context.Context, why cause, what string, read func(*config.Config) (*config.Config, clients.Loaded, error)) (admin.Reloaded, error) {
	defer LowMemoryGC()()
	s.endExpired(ctx, s.env.Clock.Wall())
	cfg, loaded, err := read(s.reloads.current)
	if err == nil && !loaded.Whole {
		err = &clients.UnfinishedError{Path: cfg.ClientsPath}
	}
	var p plan
	var changes differences
	var stopping *admin.StoppingError
	if err == nil {
		p, err = newPlan(cfg, loaded.List, s.env.Clock.Wall(), s.self.Keys()...)
	}
	n := len(loaded.List)
	loaded.List = nil // its secrets are in the plan's tables
	if err == nil {
		s.leased.use(p.settings.Rules.Table)
		defer func() { s.leased.keepOnly(s.reloads.table) }()
		changes, p.trial = s.differencesOf(p), why.trial
		absent := s.leave(&p, why)
		switch err = s.apply(ctx, cfg, p); {
		case err == nil:
			s.reloads.missing.back(p.isClient)
			s.settleMissing(p, why, absent, cfg)
			s.reviewKept(p.operations, s.reloads.missing.has)
		case (why.noticed || why.followed) && !errors.As(err, &stopping):
			// A part of the server rejects the change: the rights that the file or
			// list removes are removed nevertheless.
			err = errors.Join(err, s.narrowTo(ctx, p))
		}
	}
	err = s.env.Sandbox.Explain(err)
	switch {
	case errors.As(err, &stopping):
		s.env.Log.Error("reload failed half-way; stopping", "what", what, "error", err)
		return admin.Reloaded{}, err
	case err != nil && why.followed:
		return admin.Reloaded{}, err
	case err != nil:
		s.logFailure(why, what, err)
		return admin.Reloaded{}, err
	}
	if s.list != nil {
		s.copy.Applied()
	}
	outdated := s.reloads.current.ProfileChanges(cfg)
	changes.keys = s.reloads.current.ChangedKeys(cfg)
	s.reloads.rotations, s.reloads.expiries, s.reloads.expired = p.rotations, p.expiries, p.expired
	s.reloads.current, s.reloads.clients, s.reloads.table, s.reloads.file, s.reloads.failed = cfg, n, p.settings.Rules.Table, loaded.State, ""
	s.inForce.Store(p.settings.Rules.Table)
	s.env.setLogLevel(cfg.LogLevel)
	changes.log(s.env.Log, what, n, s.ingest.Stats().Filter.String())
	if len(outdated) > 0 {
		s.env.Log.Warn("profiles outdated", "keys", strings.Join(outdated, ","), "hint", "give each client its new profile: sallyportd client profile --all --out-dir DIR")
	}
	return admin.Reloaded{Clients: n, OutdatedProfiles: outdated}, nil
}

// logFailure logs why nothing was reloaded. A change that is tried again without a
// command, and fails as before, makes no second line.
func (s *Server) logFailure(why cause, what string, err error) {
	text := err.Error()
	if why.noticed && text == s.reloads.failed {
		return
	}
	s.reloads.failed = text
	level, attrs := slog.LevelError, []any{"what", what, "error", err}
	var unfinished *clients.UnfinishedError
	if errors.As(err, &unfinished) {
		level = slog.LevelWarn
	}
	s.env.Log.Log(context.Background(), level, "nothing reloaded", attrs...)
}

// apply puts a plan in force. It is decided before anything changes: everything
// that can fail does so in the prepare of a step, and then the old configuration
// stays in force everywhere.
func (s *Server) apply(ctx context.Context, cfg *config.Config, p plan) error {
	c := change{cfg: cfg, plan: p}
	for _, step := range s.steps {
		if err := step.prepare(ctx, &c); err != nil {
			c.abort()
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	s.warnUnusable(p)
	return s.commitNarrowed(ctx, c)
}
