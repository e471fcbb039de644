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
		current.clients, err = loadClients(current.clientsPath, current.serviceNames())
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
		{"user", old.user, new.user},
		{"stealth", old.stealth, new.stealth},
		{"stealth_except", fmt.Sprint(old.stealthExcept), fmt.Sprint(new.stealthExcept)},
		{"on_exit", old.clearOnExit, new.clearOnExit},
		{"the number of services", len(old.services), len(new.services)},
		{"challenge", old.challenge.text(), new.challenge.text()},
	} {
		if fixed.old != fixed.new {
			return cli.WithHint(fmt.Errorf("%s: %s has changed, which a reload cannot carry out", new.path, fixed.key), "restart the server, or change it back")
		}
	}
	for i, was := range old.services {
		if key := was.fixed(new.services[i], old.needsHelper()); key != "" {
			return cli.WithHint(fmt.Errorf("%s: %s of service %s has changed, which a reload cannot carry out", new.path, key, was.name), "restart the server, or change it back")
		}
	}
	return nil
}

// fixed returns the key of what has changed of a service and needs a restart.
// A helper holds to what it read when it started.
func (s serviceConfig) fixed(next serviceConfig, helped bool) string {
	for _, k := range []struct {
		key       string
		old, next any
		helped    bool // only then
	}{
		{"name", s.name, next.name, false},
		{"type", s.kind, next.kind, false},
		{"protocol", s.udp, next.udp, false},
		{"listen", s.listen, next.listen, false},
		{"look", s.filtered, next.filtered, false},
		{"grant_prefix6", s.prefixLen6, next.prefixLen6, false},
		{"max_connections", s.connections, next.connections, false},
		{"whether there is TLS", s.tlsCert != "", next.tlsCert != "", false},
		{"hook", s.forward, next.forward, false},
		{"policy", s.reject, next.reject, false},
		{"open_max", s.terms.OpenMax, next.terms.OpenMax, true},
		{"open_to", s.terms.Anyone, next.terms.Anyone, true},
		{"on_close", s.terms.Cut, next.terms.Cut, true},
	} {
		if k.old != k.next && (helped || !k.helped) {
			return k.key
		}
	}
	return ""
}
