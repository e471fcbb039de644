package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"sallyport/cmd/internal/cli"
)

// reloader brings the running server in line with its files. One reload runs
// at a time; each is all or nothing.
type reloader struct {
	server *server
	log    *slog.Logger

	mu      sync.Mutex
	current config
}

// reload reads the configuration and all that it refers to.
func (r *reloader) reload(ctx context.Context) error {
	return r.change(ctx, "configuration", func(current config) (config, error) {
		next, err := loadConfig(current.path)
		if err != nil {
			return next, err
		}
		return next, reloadable(current, next)
	})
}

// reloadClients reads only the clients file.
func (r *reloader) reloadClients(ctx context.Context) error {
	return r.change(ctx, "clients", func(current config) (config, error) {
		var err error
		current.clients, err = loadClients(current.clientsPath)
		return current, err
	})
}

// change applies what next makes of the current configuration, and logs it.
func (r *reloader) change(ctx context.Context, what string, next func(config) (config, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer sparingly()()
	cfg, err := next(r.current)
	var p parts
	if err == nil {
		p, err = partsOf(cfg)
	}
	if err == nil {
		err = r.server.apply(ctx, p)
	}
	if err != nil {
		r.log.Error("nothing reloaded", "what", what, "error", err)
		return err
	}
	r.log.Info("reloaded", "what", what, "clients", len(cfg.clients), "kernel_filter", r.server.ingest.Stats().Filter)
	cfg.clients = nil // they are in tables of their own
	r.current = cfg
	return nil
}

// reloadable says what of a changed configuration needs a restart.
func reloadable(old, new config) error {
	for _, fixed := range []struct {
		key      string
		old, new any
	}{
		{"listen", fmt.Sprint(old.listen), fmt.Sprint(new.listen)},
		{"readers", old.readers, new.readers},
		{"receive_buffer", old.buffer, new.buffer},
		{"kernel_filter", old.unfiltered, new.unfiltered},
		{"admin_socket", old.adminSocket, new.adminSocket},
		{"state_dir", old.stateDir, new.stateDir},
		{"durability", old.relaxed, new.relaxed},
		{"clients", old.clientsPath, new.clientsPath},
		{"service.name", old.service.name, new.service.name},
		{"service.listen", old.service.listen, new.service.listen},
	} {
		if fixed.old != fixed.new {
			return cli.WithHint(fmt.Errorf("%s: %s has changed, which a reload cannot carry out", new.path, fixed.key), "restart the server, or change it back")
		}
	}
	return nil
}
