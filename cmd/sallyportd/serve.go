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
	"sallyport/sessions/gate"
)

func serveCommand(env cli.Env) *cobra.Command {
	var path string
	var takeOver bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Take knocks, and open services for those who knock correctly",
		Long: `Take knocks, and open services for those who knock correctly.

Needs no privileges, and drops any that it was started with. Services of type
"firewall", and stealth, require a holder of CAP_NET_ADMIN: "sallyportd firewall
hold", if that answers at firewall_socket; else a second process, which this one
starts first. Nothing of the firewall is touched before the state directory is
this server's. Started with CAP_NET_ADMIN, it first warns of rules of other
programs that lead packets around the guard, as "check" does. SIGINT and SIGTERM
close everything in order, the second one at once.

Exit codes: 0 stopped in order, and what is behind the firewall is closed; 1
failed; 2 wrong usage or configuration, nothing was done.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			// SIGHUP means reload, from the first moment on; it is heard when
			// the server serves.
			privilege.IgnoreHangups()
			left, err := dropPrivileges(c.Context(), path, takeOver, env)
			if err != nil {
				return err
			}
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			log, dropped, stop := openLog(env)
			defer stop()
			s, loaded, err := newServer(c.Context(), path, left, daemon.Env{Clock: env.Clock, Log: log, LogDropped: dropped})
			if err != nil {
				return privilege.Unreadable(err)
			}
			err = s.Serve(c.Context(), daemon.Control{Hangups: hangups, Clients: loaded})
			log.Info("stopped")
			return err
		},
	}
	addConfigFlag(c, &path)
	addTakeOverFlag(c, &takeOver)
	return c
}

// dropPrivileges returns in a process that has dropped its privileges, with the
// connection to the holder, if it has started one.
func dropPrivileges(ctx context.Context, path string, takeOver bool, env cli.Env) (privilege.Resumed, error) {
	left, err := privilege.Resume(env.Clock)
	if left.Dropped || err != nil {
		return left, err
	}
	cfg, err := config.Load(path, config.Alone)
	if err != nil {
		return left, cli.Misuse(err)
	}
	host, err := privilege.Probe()
	if err != nil {
		return left, err
	}
	if err := cfg.Check(host); err != nil {
		return left, cli.Misuse(err)
	}
	for _, w := range abandoned(cfg, host) {
		fmt.Fprintf(env.Stderr, "sallyportd: warning: %s\n", w)
	}
	warnAround(cfg, host, env)
	needs := cfg.Needs(host)
	command := []string{helperName, "-c", path}
	if takeOver {
		command = append(command, "--"+takeOverName)
	}
	return left, privilege.Split(ctx, privilege.Plan{
		User: cfg.User, Helper: needs.Helper, Socket: cfg.FirewallSocket, Command: command,
		LowPorts: needs.LowPorts, Capture: needs.Capture,
	}, host)
}

// newServer reads everything, and makes a server. Of what is read, clients'
// secrets live no longer than this call.
func newServer(ctx context.Context, path string, left privilege.Resumed, env daemon.Env) (_ *daemon.Server, loaded clients.State, err error) {
	defer daemon.LowMemoryGC()()
	fixed, err := config.Load(path, config.Alone)
	if err != nil {
		return nil, loaded, cli.Misuse(err)
	}
	if err := left.VerifyUser(fixed.User); err != nil {
		return nil, loaded, err
	}
	host, err := privilege.Probe()
	if err != nil {
		return nil, loaded, err
	}
	if err := fixed.Check(host); err != nil {
		return nil, loaded, cli.Misuse(err)
	}
	env.Host = host
	h, lock, err := begin(ctx, fixed, host, left, env.Clock)
	if err != nil {
		return nil, loaded, err
	}
	defer func() {
		if err != nil && h != nil {
			err = errors.Join(err, h.Close()) // which the holder takes for a crash
		}
	}()
	// Everything is closed from here on, whatever else is wrong.
	cfg, err := config.Load(path, config.All)
	if err != nil {
		return nil, loaded, cli.Misuse(err)
	}
	if cfg.Digest() != fixed.Digest() || cfg.StateDir != fixed.StateDir {
		return nil, loaded, cli.WithHint(fmt.Errorf("%s has changed while the server started", path), "start it again")
	}
	file, err := clients.Read(cfg.ClientsPath, cfg.ServiceNames())
	if err != nil {
		return nil, loaded, cli.Misuse(err)
	}
	list := file.List
	loaded = file.State
	file.List = nil
	if !file.Whole {
		unfinished := &clients.UnfinishedError{Path: cfg.ClientsPath}
		env.Log.Warn("clients file may be incomplete; using it as it is", "error", unfinished, "hint", unfinished.Hint())
	}
	if os.Geteuid() == 0 {
		env.Log.Warn("running as root without capabilities", "hint", "set \"user\" in the configuration: root can change files that root owns")
	}
	if err := checkServices(cfg, env.Log); err != nil {
		return nil, loaded, err
	}
	if len(list) == 0 {
		env.Log.Warn("clients file names no client", "hint", "add one: sallyportd client add")
	}
	env.State = lock
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
			log.Warn("service address not available yet", "service", s.Name, "listen", s.Listen)
			continue
		}
		if err != nil {
			return cli.WithHint(fmt.Errorf("service %s cannot listen at %s: %w", s.Name, s.Listen, err), "another program holds the port, or it takes a privilege; see its \"listen\" in "+cfg.Path)
		}
	}
	return nil
}
