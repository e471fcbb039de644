package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/cmd/sallyportd/internal/moved"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/cmd/sallyportd/internal/selftest"
	"sallyport/cmd/sallyportd/internal/systemd"
	"sallyport/cmd/sallyportd/internal/trial"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/runner"
	"sallyport/sessions/state"
	"sallyport/sessions/syserror"
)

func serveCommand(env cli.Env) *cobra.Command {
	var path string
	var takeOver bool
	var try trialFlag
	c := &cobra.Command{
		Use:        "serve",
		SuggestFor: []string{"start", "run"},
		Short:      "Accept knocks, and open services for clients that knock correctly",
		Long: `Accept knocks, and open services for clients that knock correctly.

The server needs no privileges, and drops any that it was started with. Services
of type "firewall", and stealth, require a holder of CAP_NET_ADMIN: "sallyportd
firewall hold", if it answers at firewall_socket, or else a second process, which
the server starts first. Programs of services require that root starts the server,
or CAP_SETUID and CAP_SETGID: for each of their users, a process of this user starts
them. The server does not change the firewall before it has
locked its state directory. If it was started with CAP_NET_ADMIN, it first warns
about rules of other programs by which packets bypass the firewall's table, as
"check" does. SIGHUP makes the server read its configuration and clients again.
SIGINT and SIGTERM end the server in order: it closes everything, and records the
leases in force, which the next start opens again (see resume_leases). The table of
the firewall stays, and the services behind it stay closed. If on_exit is "clear",
and the server has started the holder itself, the table is removed instead, and
the services are open to anyone. With --trial, services that were not hidden before
are hidden for a time only: when it is over, the kernel opens them to anyone, even if
the server has crashed, unless "sallyportd confirm" has come. Until a trial is
confirmed, each later start leaves them open after that time. A second signal ends the server at once.

Exit codes: 0 stopped in order; the services behind the firewall are closed, or
open to anyone if on_exit is "clear"; 1 failed; 2 wrong usage or configuration,
and nothing was changed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			// SIGHUP requests a reload from the first moment on; the server does it
			// when it serves.
			privilege.IgnoreHangups()
			resumed, err := dropPrivileges(c.Context(), path, takeOver, try, env)
			if err != nil {
				return err
			}
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			level := new(slog.LevelVar)
			log := openLog(env, logSettings{path: path, level: level})
			defer log.stop()
			fixed, confined, err := confineServer(path, resumed, log.Logger)
			if err != nil {
				return err
			}
			serverEnv := daemon.Env{
				Sandbox: confined,
				Release: cli.Version(), Capturer: resumed.Capturer, Clock: env.Clock,
				Log: log.Logger, LogLevel: level, LogDropped: log.Dropped, LogLeftOut: log.LeftOut, LogTail: log.tail.Lines,
				SelfTest: selftest.Usual(), Manager: systemd.FromEnvironment(os.Getenv), Stored: resumed.Stored,
			}
			s, err := newServer(c.Context(), fixed, resumed, serverEnv)
			if syserror.ReadOnly.In(err) {
				return cli.WithHint(err, "the server writes there: mount the file system, or the volume of the container, writable")
			}
			if err != nil {
				return privilege.Unreadable(err)
			}
			err = s.server.Serve(c.Context(), daemon.Control{Hangups: hangups, Clients: s.clients})
			if s.held {
				s.left.log(log.Logger, resumed.Client != nil, err)
			}
			log.Info("stopped")
			return err
		},
	}
	addConfigFlag(c, env, &path)
	addTakeOverFlag(c, &takeOver)
	addTrialFlag(c.Flags(), &try)
	return c
}

// dropPrivileges drops the privileges of this process. It returns the connection
// to the holder, if it has started one. It starts the program again for that, and
// returns only in the process that has dropped its privileges.
func dropPrivileges(ctx context.Context, path string, takeOver bool, try trialFlag, env cli.Env) (privilege.Resumed, error) {
	resumed, err := privilege.Resume(env.Clock)
	if resumed.Dropped || err != nil {
		if err == nil && try.asked != nil && resumed.Client == nil {
			err = errHeldAlready
		}
		return resumed, err
	}
	stored := storedConnections() // no process that this one starts inherits them
	cfg, err := config.Load(path, config.Alone)
	if err == nil {
		err = cfg.ResolveListen(ctx)
	}
	if err != nil {
		return resumed, cli.Misuse(err)
	}
	if err := try.check(cfg); err != nil {
		return resumed, err
	}
	host, err := privilege.Probe()
	if err != nil {
		return resumed, err
	}
	if err := cmp.Or(cfg.Check(host), cfg.CheckIPv6(host)); err != nil {
		return resumed, cli.Misuse(err)
	}
	setLogFormat(cfg)
	found := append(checkLeftTable(cfg, host), checkTrusted(cfg, links{toAnyone: hostLinks().toAnyone})...)
	printFindings(env.Err(), findingsFor(path, found))
	warnBypass(cfg, host, env)
	warnSilenced(cfg, env)
	needs := cfg.Needs(host)
	command := []string{helperName, "-c", path}
	if takeOver {
		command = append(command, "--"+takeOverName)
	}
	command = append(command, try.arguments()...)
	return resumed, privilege.Split(ctx, privilege.Plan{
		User: cfg.User, Holder: needs.Holder, Shield: cfg.Shield != nil, Instead: cfg.WithoutFirewall(host), Socket: cfg.FirewallSocket, Command: command,
		LowPorts: needs.LowPorts, Capture: cfg.Captured(), Capturer: []string{capturerName, "-c", path},
		Programs: cfg.Programs(), Runner: []string{runnerName},
		Stored: stored, HandOver: env.HandOver,
	}, host)
}

// storedConnections returns the descriptors of the service manager's store in which the
// server before this one has left connections. It closes all others that the manager has
// passed, and removes those of another release from the store.
func storedConnections() (stored []int) {
	manager, removed := systemd.FromEnvironment(os.Getenv), map[string]bool{}
	for _, d := range systemd.Passed(os.Getenv, os.Unsetenv) {
		known, ours := moved.IsName(d.Name)
		if known {
			stored = append(stored, d.FD)
			continue
		}
		syscall.Close(d.FD)
		if ours && !removed[d.Name] {
			removed[d.Name] = true
			manager.Remove(d.Name)
		}
	}
	return stored
}

// errHeldAlready: --trial is for the process that makes the table.
var errHeldAlready = cli.Misuse(cli.WithHint(errors.New("--trial: a holder of the firewall runs already, and has hidden the services"),
	"start \"sallyportd firewall hold\" with --trial instead, and the server without it"))

// madeServer is a server that newServer has made.
type madeServer struct {
	server  *daemon.Server
	clients clients.State // the file that it has read
	held    bool          // a holder of the firewall executes its requests
	left    leftTable
}

// newServer reads all files, and makes a server. Fixed is the configuration by which this
// process has its files. The clients' secrets that it reads do not outlive this call.
func newServer(
	ctx context.Context, fixed *config.Config, resumed privilege.Resumed, env daemon.Env,
) (made madeServer, err error) {
	defer daemon.LowMemoryGC()()
	path := fixed.Path
	if err := resumed.VerifyUser(fixed.User); err != nil {
		return made, err
	}
	host, err := privilege.Probe()
	if err != nil {
		return made, err
	}
	if err := cmp.Or(fixed.Check(host), fixed.CheckIPv6(host)); err != nil {
		return made, cli.Misuse(err)
	}
	env.Host = host
	holder, lock, err := claimHolder(ctx, fixed, host, resumed, env)
	if err != nil {
		return made, err
	}
	guards := fixed.NeedsFirewall(host) != ""
	env.Unguarded = !guards
	defer func() {
		if err != nil && holder != nil {
			err = errors.Join(err, holder.Close()) // to the holder this is a crash
		}
	}()
	// From here on everything is closed, also if this function fails.
	cfg, err := config.Load(path, config.All)
	if err == nil {
		err = cfg.ResolveListen(ctx)
	}
	if err != nil {
		return made, cli.Misuse(err)
	}
	if cfg.Digest() != fixed.Digest() || cfg.NeedsFirewall(host) != fixed.NeedsFirewall(host) || cfg.StateDir != fixed.StateDir {
		err := fmt.Errorf("%s changed while the server started", path)
		return made, cli.WithHint(err, "start the server again")
	}
	if cfg.FleetClients && lock == nil { // the server before this one may write the copy
		if lock, err = state.TakeLock(ctx, cfg.StateDir, daemon.StateWait, env.Log); err != nil {
			return made, err
		}
	}
	file, err := readClients(ctx, cfg, &env)
	if err != nil {
		return made, err
	}
	list := file.List
	loaded := file.State
	file.List = nil
	if !file.Whole {
		unfinished := &clients.UnfinishedError{Path: cfg.ClientsPath}
		env.Log.Warn("clients file may be incomplete; using it as it is", "error", unfinished, "hint", unfinished.Hint())
	}
	if os.Geteuid() == 0 {
		env.Log.Warn("running as root without capabilities", "hint", rootHint(path))
	}
	if cfg.WithoutIPv6(host) {
		env.Log.Warn("listening on one address family only", "reason", "no IPv6 on this host, or in its sandbox")
	}
	warnSource(path, env.Log)
	if err := checkServices(cfg, env.Clock.Wall()); err != nil {
		return made, err
	}
	warnOfLimits(cfg, env.Clock.Wall(), env.Log)
	if len(list) == 0 && !cfg.FleetClients { // a fleet's list is read again once the server follows it
		if operations := cfg.OpeningWithoutClient(); len(operations) > 0 {
			env.Log.Warn("clients file names no client; only operations can open", "operation", strings.Join(operations, ","))
		} else {
			env.Log.Warn("clients file names no client; nothing can open a service", "hint", "add one: sallyportd client add")
		}
	}
	runners, err := resumed.Runners(cfg.Programs())
	if err != nil {
		return made, explainRunners(err, cfg)
	}
	if runners != nil {
		env.Programs = runners
	}
	env.State = lock
	s, err := daemon.New(ctx, cfg, list, holder, env)
	if err != nil {
		return made, fmt.Errorf("start: %w", err)
	}
	return madeServer{s, loaded, guards, leftTableOf(cfg)}, nil
}

// readClients reads the clients with which the server starts. If they are those of a list
// in etcd, it may wait for that.
func readClients(ctx context.Context, cfg *config.Config, env *daemon.Env) (loaded clients.Loaded, err error) {
	if !cfg.FleetClients {
		loaded, err = clients.Read(cfg.ClientsPath, cfg.SecretFiles, cfg.ServiceNames())
		return loaded, cli.Misuse(cfg.ExplainClients(err))
	}
	env.ClientsCopy, loaded, err = fleetlist.Start(ctx, cfg, env.Clock.Wall, env.Log)
	if err != nil && ctx.Err() == nil {
		err = cli.Misuse(err)
	}
	return loaded, err
}

// explainRunners adds what to do to the error of the processes that start programs.
func explainRunners(err error, cfg *config.Config) error {
	switch {
	case errors.Is(err, runner.ErrOtherConfiguration):
		return cli.WithHint(err, fmt.Sprintf("%s changed while the server started, or SALLYPORTD_DROPPED was in its environment, which only the server may set: start the server again, without that variable", cfg.Path))
	case errors.Is(err, runner.ErrOtherRelease):
		return cli.WithHint(err, "the program was replaced while the server started: start the server again")
	}
	return err
}

// rootHint returns what can happen while the server runs as root, and how to change
// that.
func rootHint(path string) string {
	dir := quoted(filepath.Dir(path))
	return "an attacker who takes control of the server can then change root's files; to prevent it, make a user (useradd --system sallyport), " +
		"give it the server's files (chown -R sallyport " + dir + "), and set user = \"sallyport\" in " + path
}

// leftTable is the part of a configuration that decides what a server leaves of the
// firewall. It has no secret.
type leftTable struct {
	services []string // behind the firewall
	clear    bool     // on_exit is "clear"
	stateDir string   // with the record of trials
	tried    []trial.Subject
}

func leftTableOf(cfg *config.Config) leftTable {
	var services []string
	for i := range cfg.Services {
		if s := &cfg.Services[i]; s.HasPort() && !s.Binds() {
			services = append(services, s.Name)
		}
	}
	return leftTable{services, cfg.ClearOnExit, cfg.StateDir, trial.Of(cfg)}
}

// log logs what the server leaves of the firewall when it has stopped, with an error
// or in order. Own: the server has started the holder.
func (t leftTable) log(log *slog.Logger, own bool, err error) {
	services := t.services
	if record, failed := trial.Read(t.stateDir); failed == nil && err == nil && !(t.clear && own) {
		open := trial.Names(slices.DeleteFunc(slices.Clone(t.tried), func(s trial.Subject) bool { return !record.Unconfirmed(s) }))
		services = slices.DeleteFunc(slices.Clone(t.services), func(name string) bool { return slices.Contains(open, name) })
		if len(open) > 0 {
			log.Warn("trial not confirmed; services open to anyone when it is over", "services", trialNames(open))
		}
		if len(open) > 0 && len(services) == 0 {
			return
		}
	}
	names := strings.Join(services, ",")
	switch {
	case err != nil:
		log.Warn("firewall table not verified", "services", names, "hint", "\"sallyportd check\" shows whether it exists")
	case t.clear && own:
		log.Info("firewall table removed; services open to anyone", "services", names, "reason", "on_exit = \"clear\"")
	case own:
		log.Info("firewall table stays; services closed", "services", names, "hint", "\"sallyportd firewall clear\" opens them to anyone")
	default:
		log.Info("firewall table stays; services closed", "services", names, "reason", "the holder runs on",
			"hint", "stop \"sallyportd firewall hold\", then \"sallyportd firewall clear\" opens them to anyone")
	}
}

// checkServices finds services that can never listen, before the first grant does.
// The server waits for a port that another program has, and for an address or
// interface that the host does not have yet.
func checkServices(cfg *config.Config, now time.Time) error {
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if !s.Carries() {
			continue
		}
		at, err := s.BindAddresses(now)
		if err == nil {
			err = gate.Bindable(s.Protocol(), at[0])
		}
		if err == nil || errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL) {
			continue
		}
		err = fmt.Errorf("service %s cannot listen on %s: %w", s.Name, at[0], err)
		return cli.WithHint(err, listenHint(s, err, cfg.Path))
	}
	return nil
}

// listenHint returns what to do about the error of a service that cannot listen.
func listenHint(s *config.Service, err error, path string) string {
	key, port := "listen", s.Port()
	if s.Via() != 0 {
		key, port = "via_port", s.Via()
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("stop that program, or change %q of the service; until then the server retries, and the service stays closed", key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "the server waits for the address, and opens the service when the host has it"
	case errors.Is(err, syscall.EACCES):
		if s.Rotates() {
			return fmt.Sprintf("ports of %s require CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start", s.Drawn().Range)
		}
		return fmt.Sprintf("port %d requires CAP_NET_BIND_SERVICE, or sysctl -w net.ipv4.ip_unprivileged_port_start=%d", port, port)
	}
	return fmt.Sprintf("see %q of the service in %s", key, path)
}
