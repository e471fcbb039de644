package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/helper"
)

func serveCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Take knocks, and open services for those who knock correctly",
		Long: `Take knocks, and open services for those who knock correctly.

Needs no privilege for itself, and keeps none: what it was started with it
sheds. Only for services of type "firewall", and for stealth, a second process
keeps CAP_NET_ADMIN. SIGINT and SIGTERM close everything in order, the second
one at once.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			// SIGHUP means reload, from the first moment on; it is heard when
			// the server serves.
			privilege.IgnoreHangups()
			h, err := dropPrivileges(path, env.Clock)
			if err != nil {
				return err
			}
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			log, dropped, stop := openLog(env)
			defer stop()
			s, loaded, err := newServer(c.Context(), path, h, daemon.Env{Clock: env.Clock, Log: log, LogDropped: dropped})
			if err != nil {
				return err
			}
			err = s.Serve(c.Context(), daemon.Control{Hangups: hangups, Clients: loaded})
			log.Info("stopped")
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

// dropPrivileges returns in a process that has dropped its privileges, with the
// connection to the one that keeps CAP_NET_ADMIN, if the configuration requires
// it.
func dropPrivileges(path string, time clock.Clock) (*helper.Client, error) {
	h, dropped, err := privilege.Resume(time)
	if dropped || err != nil {
		return h, err
	}
	cfg, err := config.Load(path, config.Alone)
	if err != nil {
		return nil, cli.Misuse(err)
	}
	host, err := privilege.Probe()
	if err != nil {
		return nil, err
	}
	if err := cfg.Check(host); err != nil {
		return nil, cli.Misuse(err)
	}
	needs := cfg.Needs(host)
	return nil, privilege.Split(privilege.Plan{
		User: cfg.User, Helper: needs.Helper, Command: []string{helperName, "-c", path},
		LowPorts: needs.LowPorts, Capture: needs.Capture,
	}, host)
}

// newServer reads everything, and makes a server. Of what is read, clients'
// secrets live no longer than this call.
func newServer(ctx context.Context, path string, h *helper.Client, env daemon.Env) (_ *daemon.Server, loaded clients.State, err error) {
	defer daemon.Sparingly()()
	cfg, err := config.Load(path, config.All)
	if err != nil {
		return nil, loaded, cli.Misuse(err)
	}
	loaded = clients.StateOf(cfg.ClientsPath)
	list, err := clients.Load(cfg.ClientsPath, cfg.ServiceNames())
	if err != nil {
		return nil, loaded, cli.Misuse(err)
	}
	host, err := privilege.Probe()
	if err != nil {
		return nil, loaded, err
	}
	if err := cfg.Check(host); err != nil {
		return nil, loaded, cli.Misuse(err)
	}
	env.Host = host
	// The configuration is read a second time here: it may be another one.
	if why := cfg.NeedsFirewall(host); h == nil && why != "" {
		return nil, loaded, cli.WithHint(fmt.Errorf("%s takes the firewall, and no process was started that keeps CAP_NET_ADMIN for it", why), "the configuration has changed while the server started, or SALLYPORTD_DROPPED, which only the server may set, was in its environment: start it again, without that variable")
	}
	if h != nil {
		if err := h.Ready(cfg.Digest()); err != nil {
			return nil, loaded, cli.WithHint(fmt.Errorf("start the privileged helper: %w", err), "what it says itself stands above")
		}
	}
	if os.Geteuid() == 0 {
		env.Log.Warn("runs as root, though without root's privileges: it may still change what root owns; set \"user\" in the configuration")
	}
	if err := checkServices(cfg, env.Log); err != nil {
		return nil, loaded, err
	}
	if len(list) == 0 {
		env.Log.Warn("the clients file names no client: nobody can get in")
	}
	s, err := daemon.New(ctx, cfg, list, h, env)
	if err != nil {
		return nil, loaded, fmt.Errorf("start: %w", err)
	}
	return s, loaded, nil
}

// checkServices finds early what the first grant would find.
func checkServices(cfg *config.Config, log *slog.Logger) error {
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if !s.Binds() {
			continue
		}
		err := gate.Bindable(s.Protocol(), s.Listen)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // the server before this one may be stopping: Run finds out
		}
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			log.Warn("a service's address is not there yet", "service", s.Name, "at", s.Listen)
			continue
		}
		if err != nil {
			return cli.WithHint(fmt.Errorf("service %s cannot listen at %s: %w", s.Name, s.Listen, err), "another program holds the port, or it takes a privilege; see its \"listen\" in "+cfg.Path)
		}
	}
	return nil
}
