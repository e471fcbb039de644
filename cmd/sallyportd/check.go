package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/ingest"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
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

Nothing is changed. Exit code 2: it is not valid; 0: it is, warnings or not.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err == nil {
				_, err = partsOf(cfg)
			}
			if err != nil {
				return cli.Misuse(err)
			}
			describe(env, cfg)
			for _, a := range advise(cfg) {
				fmt.Fprintf(env.Stdout, "advice: %s\n", a)
			}
			stateWarning, err := checkState(c.Context(), cfg)
			if err != nil {
				return cli.Misuse(err)
			}
			warnings := append(stateWarning, check(c.Context(), cfg, env.Now())...)
			for _, w := range warnings {
				fmt.Fprintf(env.Stdout, "warning: %s\n", w)
			}
			_, err = fmt.Fprintf(env.Stdout, "valid, %d warnings\n", len(warnings))
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

// describe says what would run.
func describe(env cli.Env, cfg config) {
	say := func(what, format string, args ...any) {
		fmt.Fprintf(env.Stdout, "%-10s %s\n", what, fmt.Sprintf(format, args...))
	}
	at := "all addresses"
	if len(cfg.listen) > 0 {
		at = strings.Trim(fmt.Sprint(cfg.listen), "[]")
	}
	say("knocks", "%d to UDP ports that change every minute (%s), at %s", cfg.ports, cfg.generator, at)
	if cfg.previous.secret != "" && env.Now().Before(cfg.previous.until) {
		say("", "and to those of the previous port secret until %s", cfg.previous.until.UTC().Format(time.RFC3339))
	}
	say("clocks", "may be off by %s", cfg.tolerance)
	say("clients", "%d, in %s", len(cfg.clients), cfg.clientsPath)
	when := "before anything opens"
	if cfg.relaxed {
		when = "100 ms after it opens at the latest"
	}
	say("nonces", "on disk %s, in %s", when, cfg.stateDir)
	for _, service := range cfg.services {
		say("service", "%s", service.describe())
	}
	if cfg.challenge != nil {
		say("challenge", "requests and responses to UDP ports %s, %s", cfg.challenge.plan.Ports, map[bool]string{false: "captured", true: "bound"}[cfg.challenge.sockets])
	}
	for _, o := range cfg.operations {
		say("operation", "%s", o.describe(cfg.services[o.service]))
	}
	if cfg.needsHelper() {
		say("firewall", "table inet sallyport before every service%s", map[bool]string{true: ", and before all unsolicited UDP to ports 1025 to 65535"}[cfg.stealth])
	}
}

// describe says what a service is, in a line.
func (s serviceConfig) describe() string {
	what := "web server with test pages"
	switch {
	case s.kind == "proxy":
		what = s.protocol() + " proxy to " + s.upstream
	case s.kind == "firewall":
		what = s.protocol() + " port behind the firewall"
	case s.root != "":
		what = "web server with " + s.root
	}
	if s.tlsCert != "" {
		what += ", TLS"
	}
	who := "the address that knocked"
	if s.terms.Anyone {
		who = "anyone"
	} else if s.prefixLen6 == 64 {
		who += ", of IPv6 its /64"
	}
	then := "keeps connections"
	if s.terms.Cut {
		then = "cuts connections"
	}
	return fmt.Sprintf("%s: %s, at %s, for %s (at most %s) open to %s, then %s", s.name, what, s.listen, s.terms.OpenFor, s.terms.OpenMax, who, then)
}

// check returns what bites.
func check(ctx context.Context, cfg config, now time.Time) (warnings []string) {
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if len(cfg.clients) == 0 {
		warn("the clients file names no client: nobody can get in; \"sallyportd client add\" makes one")
	}
	if w := weakness(cfg.portSecret); w != "" {
		warn("the port secret is weak, %s; \"sallyportd port-secret roll\" makes a good one", w)
	}
	if w := weakness(cfg.previous.secret); cfg.previous.secret != "" && now.Before(cfg.previous.until) && w != "" {
		warn("the previous port secret, good until %s, is weak, %s", cfg.previous.until.UTC().Format(time.RFC3339), w)
	}
	if cfg.generator == schedule.Java {
		warn("the generator java has 32 bits: who has seen a minute's ports can find its seed, though not the port secret; use algorithm1 unless a client needs it")
	}
	for _, c := range cfg.clients {
		if w := weakness(string(c.secret)); w != "" {
			warn("the secret of client %s is weak, %s from one sniffed knock; \"sallyportd client rotate %s\" makes a good one", c.identifier, w, c.identifier)
		}
	}
	for _, c := range cfg.clients {
		if w := weakness(string(c.previous)); c.previous != nil && now.Before(c.until) && w != "" {
			warn("the old secret of client %s, good until %s, is weak, %s from one sniffed knock", c.identifier, c.until.UTC().Format(time.RFC3339), w)
		}
	}
	if client.ClockState() == client.ClockUnsynchronised {
		warn("this host's clock is not synchronised (it shows %s): knocks stop working when it is off by more than %s; run chrony, ntpd or systemd-timesyncd", now.UTC().Format(time.RFC3339), cfg.tolerance)
	}
	if why := cfg.needsFirewall(); why != "" && !netAdmin() {
		warn("%s takes CAP_NET_ADMIN, which this command does not have: \"serve\" has to be started with it", why)
	}
	if cfg.challenge != nil && !cfg.challenge.sockets && !netRaw() {
		warn("[challenge] with capture = \"packet\" takes CAP_NET_RAW, which this command does not have: \"serve\" has to be started with it")
	}
	_, idle := cfg.usable()
	warnings = append(warnings, idle...)
	for _, o := range cfg.operations {
		if w := weakness(o.secret); w != "" {
			warn("the secret of operation %q is weak, %s from one sniffed exchange", o.id, w)
		}
		if o.algorithm == exchange.Unilateral {
			warn("operation %q uses Algorithm 1: who is behind a NAT does not get in, and anybody can pass for the server", o.id)
		}
	}
	warnings = append(warnings, checkPorts(cfg, now)...)
	warnings = append(warnings, checkFamilies(ctx, cfg)...)
	return append(warnings, checkFirewall(cfg)...)
}

// checkState reads the record of used nonces. The error is what would keep
// the server from serving.
func checkState(ctx context.Context, cfg config) (warnings []string, err error) {
	_, err = readState(ctx, cfg)
	var damaged *state.DamagedError
	var newer *state.NewerError
	switch {
	case errors.As(err, &damaged), errors.As(err, &newer):
		return nil, err
	case errors.Is(err, fs.ErrNotExist):
		return []string{fmt.Sprintf("there is no record of used nonces in %s yet: \"serve\" makes one, and refuses knocks for the first minute, since it may have been lost; \"init\" makes one without that", cfg.stateDir)}, nil
	case err != nil:
		return []string{fmt.Sprintf("the record of used nonces: %v", err)}, nil
	}
	return nil, nil
}

// checkPorts tries to bind what the server would, unless one runs already.
func checkPorts(cfg config, now time.Time) (warnings []string) {
	if c, err := net.DialTimeout("unix", cfg.adminSocket, time.Second); err == nil {
		c.Close()
		return nil // the ports are the running server's
	}
	for _, s := range cfg.services {
		if s.kind == "firewall" {
			continue
		}
		if err := gate.Bindable(s.protocol(), s.listen); errors.Is(err, syscall.EADDRNOTAVAIL) {
			warnings = append(warnings, fmt.Sprintf("service %s: its address %s is not (yet) one of this host's", s.name, s.listen))
		} else if err != nil {
			warnings = append(warnings, fmt.Sprintf("service %s cannot listen at %s: %v", s.name, s.listen, err))
		}
	}
	busy, err := ingest.Busy(cfg.listen, cfg.portLists, schedule.Live(now, cfg.tolerance))
	if len(busy) > 0 {
		warnings = append(warnings, fmt.Sprintf("knock ports of now that cannot be opened: %s (%v)", strings.TrimSuffix(fmt.Sprint(busy)[1:], "]"), err))
	}
	return warnings
}

// checkFamilies warns of clients that knock over one family and connect over
// the other: the lease is for the address that knocked.
func checkFamilies(ctx context.Context, cfg config) (warnings []string) {
	takes4, takes6 := families(cfg.listen)
	bothServed := "" // a service that both families reach, for the knocker only
	for _, s := range cfg.services {
		var at []netip.Addr
		if a := s.host(); a.IsValid() {
			at = []netip.Addr{a}
			if a.IsLoopback() && cfg.server != "" {
				warnings = append(warnings, fmt.Sprintf("service %s listens at %s only, where clients from elsewhere cannot reach it", s.name, s.listen))
			}
		} else if host, _, err := net.SplitHostPort(s.listen); err == nil && host == "0.0.0.0" {
			at = []netip.Addr{netip.IPv4Unspecified()}
		}
		serves4, serves6 := families(at)
		if serves6 && !takes6 {
			warnings = append(warnings, fmt.Sprintf("service %s listens on IPv6, but knocks are taken over IPv4 only: who connects over IPv6 does not get in", s.name))
		}
		if serves4 && !takes4 {
			warnings = append(warnings, fmt.Sprintf("service %s listens on IPv4, but knocks are taken over IPv6 only: who connects over IPv4 does not get in", s.name))
		}
		if serves4 && serves6 && !s.terms.Anyone && bothServed == "" {
			bothServed = s.name
		}
	}
	if cfg.server == "" || bothServed == "" {
		return warnings
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", cfg.server)
	if err != nil {
		return append(warnings, fmt.Sprintf("server = %q, by which clients are told to reach this host, cannot be resolved here: %v", cfg.server, cause(err)))
	}
	has4, has6 := false, false
	for _, a := range found {
		has4, has6 = has4 || a.Unmap().Is4(), has6 || !a.Unmap().Is4()
	}
	if has4 && has6 {
		warnings = append(warnings, fmt.Sprintf("%s has IPv4 and IPv6 addresses: a client that knocks over one and connects to service %s over the other does not get in; \"sallyport knock\" says which it has opened, -4 and -6 choose", cfg.server, bothServed))
	}
	return warnings
}

// families returns which ones addresses take; none stands for all, and the
// unspecified IPv6 address takes IPv4 unless an IPv4 address stands beside it.
func families(addresses []netip.Addr) (ipv4, ipv6 bool) {
	if len(addresses) == 0 {
		return true, true
	}
	for _, a := range addresses {
		ipv4 = ipv4 || a.Is4() || len(addresses) == 1 && a.IsUnspecified()
		ipv6 = ipv6 || a.Is6()
	}
	return ipv4, ipv6
}
