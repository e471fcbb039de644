package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/terminal"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/nftcheck"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/ingest"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/state"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

func checkCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "check",
		Short: "Say whether the configuration is valid, what would run, and what bites",
		Long: `Say whether the configuration is valid, what would run, and what bites.

Rules of other programs are followed as a stranger's packet would: which drop
what the server has to receive, and which lead it elsewhere. That requires
CAP_NET_ADMIN. Nothing is changed. Exit code 2: it is not valid; 0: it is, warnings or not.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			host, err := privilege.Probe()
			if err != nil {
				return err
			}
			cfg, list, err := loadAll(path, config.All)
			if err == nil {
				err = cfg.Check(host)
			}
			if err == nil {
				err = daemon.Check(cfg, list)
			}
			if err != nil {
				return cli.Misuse(err)
			}
			describe(env, cfg, list, host)
			for _, a := range advise(cfg, host) {
				fmt.Fprintf(env.Stdout, "advice: %s\n", terminal.Lines(a))
			}
			stateWarning, err := checkState(c.Context(), cfg, env.Now())
			if err != nil {
				return cli.Misuse(err)
			}
			warnings := append(stateWarning, check(c.Context(), cfg, list, host, env.Now())...)
			for _, w := range warnings {
				fmt.Fprintf(env.Stdout, "warning: %s\n", terminal.Lines(w))
			}
			_, err = fmt.Fprintf(env.Stdout, "valid, %d warnings\n", len(warnings))
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

// describe says what would run.
func describe(env cli.Env, cfg *config.Config, list clients.List, host config.Host) {
	say := func(what, format string, args ...any) {
		fmt.Fprintf(env.Stdout, "%-10s %s\n", what, terminal.Text(fmt.Sprintf(format, args...)))
	}
	at := "all addresses"
	if len(cfg.Listen) > 0 {
		at = strings.Trim(fmt.Sprint(cfg.Listen), "[]")
	}
	say("knocks", "%d to UDP ports that change every minute (%s), at %s", cfg.Ports, cfg.Generator, at)
	if cfg.PortSecret.Previous != "" && env.Now().Before(cfg.PortSecret.Until) {
		say("", "and to those of the previous port secret until %s", cfg.PortSecret.Until.UTC().Format(time.RFC3339))
	}
	say("clocks", "may be off by %s", cfg.Tolerance)
	say("clients", "%d, in %s", len(list), cfg.ClientsPath)
	when := "before anything opens"
	if cfg.Relaxed {
		when = "100 ms after it opens at the latest"
	}
	say("nonces", "on disk %s, in %s", when, cfg.StateDir)
	for i := range cfg.Services {
		say("service", "%s", cfg.Services[i].Describe())
	}
	if cfg.Challenge != nil {
		how := "captured"
		if cfg.Challenge.Sockets {
			how = "bound"
		}
		say("challenge", "requests and responses to UDP ports %s, %s", cfg.Challenge.Plan.Ports, how)
	}
	for _, o := range cfg.Operations {
		say("operation", "%s", o.Describe())
	}
	if cfg.NeedsFirewall(host) != "" {
		before := ""
		if cfg.Stealth {
			before = fmt.Sprintf(", and before all unsolicited UDP to ports %d to %d", schedule.MinPort, schedule.MaxPort)
		}
		say("firewall", "table inet %s before every service%s", firewall.Name, before)
		if host.NetAdmin() {
			now, err := standing()
			if err != nil {
				now = err.Error()
			}
			say("", "now there is %s", now)
		}
	}
}

// check returns what bites.
func check(ctx context.Context, cfg *config.Config, list clients.List, host config.Host, now time.Time) (warnings []string) {
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if len(list) == 0 {
		warn("the clients file names no client: nobody can get in; \"sallyportd client add\" makes one")
	}
	if w := secrets.Weakness(cfg.PortSecret.Current); w != "" {
		warn("the port secret is weak, %s; \"sallyportd port-secret roll\" makes a good one", w)
	}
	if w := secrets.Weakness(cfg.PortSecret.Previous); cfg.PortSecret.Previous != "" && now.Before(cfg.PortSecret.Until) && w != "" {
		warn("the previous port secret, good until %s, is weak, %s", cfg.PortSecret.Until.UTC().Format(time.RFC3339), w)
	}
	if cfg.Generator == schedule.Java {
		warn("the generator java has 32 bits: who has seen a minute's ports can find its seed, though not the port secret; use algorithm1 unless a client needs it")
	}
	for _, c := range list {
		if w := secrets.Weakness(string(c.Secret)); w != "" {
			warn("the secret of client %s is weak, %s from one sniffed knock; \"sallyportd client rotate %s\" makes a good one", c.Identifier, w, c.Identifier)
		}
	}
	for _, c := range list {
		if w := secrets.Weakness(string(c.Previous)); c.Previous != nil && now.Before(c.Until) && w != "" {
			warn("the old secret of client %s, good until %s, is weak, %s from one sniffed knock", c.Identifier, c.Until.UTC().Format(time.RFC3339), w)
		}
	}
	if client.ClockState() == client.ClockUnsynchronised {
		warn("this host's clock is not synchronised (it shows %s): knocks stop working when it is off by more than %s; run chrony, ntpd or systemd-timesyncd", now.UTC().Format(time.RFC3339), cfg.Tolerance)
	}
	if why := cfg.NeedsFirewall(host); why != "" && !host.NetAdmin() {
		warn("%s takes CAP_NET_ADMIN, which this command does not have: \"serve\" has to be started with it", why)
	}
	if cfg.Challenge != nil && !cfg.Challenge.Sockets && !host.NetRaw() {
		warn("[challenge] with capture = \"packet\" takes CAP_NET_RAW, which this command does not have: \"serve\" has to be started with it")
	}
	_, unusable := cfg.Usable(list.Rights(cfg.OperationClients()))
	warnings = append(warnings, unusable...)
	for _, o := range cfg.Operations {
		if w := secrets.Weakness(o.Secret); w != "" {
			warn("the secret of operation %q is weak, %s from one sniffed exchange", o.ID, w)
		}
		if o.Algorithm == exchange.Unilateral {
			warn("operation %q uses Algorithm 1: who is behind a NAT does not get in, and anybody can pass for the server", o.ID)
		}
	}
	warnings = append(warnings, abandoned(cfg, host)...)
	warnings = append(warnings, exposed(cfg, host)...)
	warnings = append(warnings, checkPorts(ctx, cfg, now)...)
	warnings = append(warnings, checkSourcePorts(cfg, cfg.NeedsFirewall(host) != "", readSourcePorts())...)
	warnings = append(warnings, checkListeners(cfg, procNet())...)
	warnings = append(warnings, checkFamilies(ctx, cfg)...)
	return append(warnings, nftcheck.Check(cfg, host)...)
}

// checkState reads the record of used nonces. The error is what would keep
// the server from serving.
func checkState(ctx context.Context, cfg *config.Config, now time.Time) (warnings []string, err error) {
	contents, err := readState(ctx, cfg)
	var damaged *state.DamagedError
	var newer *state.NewerError
	switch {
	case errors.As(err, &damaged), errors.As(err, &newer):
		return nil, err
	case errors.Is(err, fs.ErrNotExist):
		return []string{fmt.Sprintf("there is no record of used nonces in %s yet: \"serve\" makes one, and refuses knocks for the first minute, since it may have been lost; \"init\" makes one without that", cfg.StateDir)}, nil
	case err != nil:
		return []string{fmt.Sprintf("the record of used nonces: %v", err)}, nil
	}
	return gapWarnings(contents, now), nil
}

// checkPorts tries to bind what the server would, unless one runs already.
func checkPorts(ctx context.Context, cfg *config.Config, now time.Time) (warnings []string) {
	if runs, _ := holdsState(ctx, cfg); runs || admin.Running(cfg.AdminSocket) {
		return nil // the ports are the running server's
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if !s.Binds() {
			continue
		}
		if err := gate.Bindable(s.Protocol(), s.Listen); errors.Is(err, syscall.EADDRNOTAVAIL) {
			warnings = append(warnings, fmt.Sprintf("service %s: its address %s is not (yet) one of this host's", s.Name, s.Listen))
		} else if err != nil {
			warnings = append(warnings, fmt.Sprintf("service %s cannot listen at %s: %v", s.Name, s.Listen, err))
		}
	}
	busy, err := ingest.UnavailablePorts(cfg.Listen, cfg.PortLists(), schedule.Live(now, cfg.Tolerance))
	if len(busy) > 0 {
		warnings = append(warnings, fmt.Sprintf("knock ports of now that cannot be opened: %s (%v)", strings.TrimSuffix(fmt.Sprint(busy)[1:], "]"), err))
	}
	return warnings
}

// checkFamilies warns of clients that knock over one family and connect over
// the other: the lease is for the address that knocked.
func checkFamilies(ctx context.Context, cfg *config.Config) (warnings []string) {
	takes4, takes6 := cfg.Listen.Families()
	bothServed := "" // a service that both families reach, for the knocker only
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if a := s.Host(); a.IsLoopback() && cfg.Server != "" {
			warnings = append(warnings, fmt.Sprintf("service %s listens at %s only, where clients from elsewhere cannot reach it", s.Name, s.Listen))
		}
		serves4, serves6 := s.Addresses().Families()
		if serves6 && !takes6 {
			warnings = append(warnings, fmt.Sprintf("service %s listens on IPv6, but knocks are taken over IPv4 only: who connects over IPv6 does not get in", s.Name))
		}
		if serves4 && !takes4 {
			warnings = append(warnings, fmt.Sprintf("service %s listens on IPv4, but knocks are taken over IPv6 only: who connects over IPv4 does not get in", s.Name))
		}
		if serves4 && serves6 && !s.Terms.Anyone && bothServed == "" {
			bothServed = s.Name
		}
	}
	if cfg.Server == "" || bothServed == "" {
		return warnings
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", cfg.Server)
	if err != nil {
		return append(warnings, fmt.Sprintf("server = %q, by which clients are told to reach this host, cannot be resolved here: %v", cfg.Server, hint.Cause(err)))
	}
	has4, has6 := false, false
	for _, a := range found {
		has4, has6 = has4 || a.Unmap().Is4(), has6 || !a.Unmap().Is4()
	}
	if has4 && has6 {
		warnings = append(warnings, fmt.Sprintf("%s has IPv4 and IPv6 addresses: a client that knocks over one and connects to service %s over the other does not get in; \"sallyport knock\" says which it has opened, -4 and -6 choose", cfg.Server, bothServed))
	}
	return warnings
}
