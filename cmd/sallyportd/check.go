package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/nftcheck"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/client"
	"sallyport/sessions/state"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// checked is the result of "check" for programs.
type checked struct {
	Valid         bool      `json:"valid"`
	Configuration effective `json:"configuration"`
	Findings      []finding `json:"findings"`
}

func checkCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:        "check",
		SuggestFor: []string{"test", "verify", "validate"},
		Short:      "Check the configuration, and warn about common mistakes",
		Long: `Check the configuration, print the effective settings, and warn about common
mistakes.

With CAP_BPF and CAP_NET_ADMIN, "check" finds out whether this host can have the
shield. With CAP_NET_ADMIN, it also reads the firewall rules of other programs, and
warns about rules that drop knocks or packets of services, or lead them
elsewhere. If a server runs with this configuration, "check" also prints which
restrictions of the kernel its processes have. It changes nothing.

Exit codes: 0 the configuration is valid, with or without warnings; 2 it is not
valid.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, settings, err := runCheck(c.Context(), env, path, func(settings effective) error {
				if asJSON {
					return nil
				}
				return settings.print(env)
			})
			if err != nil {
				return err
			}
			if asJSON {
				return env.Out().JSON(checked{true, settings, orEmpty(all)})
			}
			if err := printFindings(env.Out(), all); err != nil {
				return err
			}
			warnings := 0
			for _, f := range all {
				if f.Severity == warning {
					warnings++
				}
			}
			return env.Out().Printf("valid, %s\n", count(warnings, "warning"))
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// runCheck checks the configuration at a path, and returns what it has found. It calls
// report with the settings, once they are known. Errors that the configuration has are
// marked as misuse.
func runCheck(ctx context.Context, env cli.Env, path string, report func(effective) error) (all []finding, settings effective, err error) {
	host, err := privilege.Probe()
	if err != nil {
		return nil, settings, err
	}
	cfg, err := config.Load(path, config.All)
	if err != nil {
		return nil, settings, cli.Misuse(err)
	}
	list, found, err := checkedClients(ctx, cfg, env)
	if err != nil {
		return nil, settings, err
	}
	err = cfg.ResolveListen(ctx)
	if err == nil {
		err = cmp.Or(cfg.Check(host), cfg.CheckIPv6(host))
	}
	if err == nil {
		err = daemon.Check(cfg, list, env.Now())
	}
	if err != nil {
		return nil, settings, cli.Misuse(err)
	}
	programs, err := checkPrograms(cfg)
	if err != nil {
		return nil, settings, err
	}
	denied, err := checkUser(path, cfg)
	if err != nil {
		return nil, settings, err
	}
	settings = effectiveSettings(cfg, len(list), host, env.Now())
	settings.Shield, settings.Clock = shieldOf(ctx, cfg, host), clockOf(hostClock())
	settings.processes = runningProcesses(ctx, cfg.AdminSocket)
	settings.Processes = settings.processes.all
	if err := report(settings); err != nil {
		return nil, settings, err
	}
	record, err := checkState(ctx, cfg, env)
	if err != nil {
		return nil, settings, cli.Misuse(err)
	}
	uses, err := checkUses(ctx, cfg)
	if err != nil {
		return nil, settings, cli.Misuse(err)
	}
	found = slices.Concat(record, uses, denied, programs, found)
	found = append(found, check(ctx, cfg, list, host, env)...)
	found = append(found, checkFleet(ctx, cfg, list, env)...)
	found = append(found, settings.Shield.check()...)
	found = append(found, settings.processes.check(cfg)...)
	advised := adviceFor(cfg, host)
	silences := checkSilenced(cfg, recommendsStealth(advised), env.Now())
	if cfg.Stealth {
		found = append(found, silences...)
	} else {
		advised = append(advised, silences...)
	}
	return findingsFor(path, append(advised, found...)), settings, nil
}

// check returns warnings about everything but the record of used nonces, and without
// the rights to read the record of leases, nothing about that.
func check(
	ctx context.Context, cfg *config.Config, list clients.List, host config.Host, env cli.Env,
) (found []finding) {
	add := func(code, hint, format string, args ...any) { found = append(found, warn(code, hint, format, args...)) }
	now := env.Now()
	if _, err := state.ReadKept(cfg.StateDir); err != nil && !errors.Is(err, fs.ErrPermission) {
		add("lease-record-unreadable", "its leases stay closed; to remove the file: sallyportd lease close --all",
			"the record of leases without an end cannot be read, so the server opens none of them: %v", err)
	}
	found = append(found, checkClosing(cfg)...)
	found = append(found, checkSecrets(cfg, list, env)...)
	found = append(found, checkExpiry(list, env)...)
	if cfg.Generator == schedule.Java {
		add("generator-java", "use algorithm1, unless a client requires java",
			"the seed of the generator java has 32 bits: an attacker who has seen the ports of a minute can compute the seed of that minute, but not the port secret")
	}
	found = append(found, checkClock(hostClock(), cfg.Tolerance, env.Time(now))...)
	if why := cfg.NeedsFirewall(host); why != "" && !host.NetAdmin() {
		todo := "start \"sallyportd serve\" with CAP_NET_ADMIN, or \"sallyportd firewall hold\" beside it"
		if instead := cfg.WithoutFirewall(host); instead != "" {
			todo = instead + "; or " + todo
		}
		add("missing-capability", todo, "%s requires CAP_NET_ADMIN, which this command does not have", why)
	}
	if cfg.Captured() != nil && !host.NetRaw() {
		add("missing-capability", "start \"sallyportd serve\" with CAP_NET_RAW", "[challenge] with capture = \"packet\" requires CAP_NET_RAW, which this command does not have")
	}
	if all := cfg.Programs(); len(all) > 0 && host.Held&privilege.SetIDs != privilege.SetIDs {
		add("missing-capability", "start \"sallyportd serve\" as root, with \"user\" set, or with these capabilities",
			"service %s starts programs as user %s; that requires CAP_SETUID and CAP_SETGID, which this command does not have", all[0].Service, all[0].User)
	}
	_, unusable := cfg.Usable(list.Rights(cfg.OperationClients(), now))
	found = append(found, warnings("operation-unusable", unusable)...)
	for _, o := range cfg.Operations {
		if o.UntilClosed && !slices.ContainsFunc(cfg.Operations, func(other config.Operation) bool { return other.Closes(o) }) {
			add("no-closing-operation", "add an operation with action = \"close\" for the same service and client, or close with \"sallyportd lease close\"",
				"operation %q opens service %s until it is closed, and no operation closes it", o.ID, o.Service)
		}
		if o.Algorithm == exchange.Unilateral {
			add("operation-algorithm1", "use Algorithm 2 or 3", "operation %q uses Algorithm 1: a client behind a NAT cannot use it, and an attacker can pose as the server", o.ID)
		}
	}
	for _, s := range cfg.Services {
		if s.RequireISN && s.Policy.Addresses < client.DefaultSequences {
			add("isn-max-addresses", fmt.Sprintf("set max_addresses = %d", client.DefaultSequences),
				"service %s has bind = \"isn\" and max_addresses = %d: each sequence of a client counts, and a late one ends the lease of the one that opened", s.Name, s.Policy.Addresses)
		}
	}
	if cfg.WithoutIPv6(host) {
		add("no-ipv6", "", "this host, or its sandbox, has no IPv6: the server listens on IPv4 only")
	}
	found = append(append(found, checkTable(cfg, host)...), checkTrial(cfg)...)
	found = append(found, checkPorts(ctx, cfg, now)...)
	ports := readSourcePorts()
	found = append(found, checkSourcePorts(cfg, cfg.NeedsFirewall(host) != "", ports)...)
	found = append(found, checkDrawnSourcePorts(cfg, ports)...)
	found = append(found, checkListeners(cfg, procNet())...)
	found = append(found, checkLostKnocks(cfg)...)
	found = append(found, checkTrusted(cfg, hostLinks())...)
	found = append(found, checkFamilies(ctx, cfg)...)
	found = append(found, checkCertificates(cfg, env)...)
	found = append(found, checkCarriers(ctx, cfg, net.DefaultResolver, procNet())...)
	found = append(found, checkDescriptors(cfg, now, descriptorLimit())...)
	found = append(found, checkProgramLimits(cfg, descriptorLimit())...)
	found = append(found, checkSockets(cfg, host)...)
	found = append(found, checkUpstreams(ctx, cfg, procNet())...)
	for _, w := range nftcheck.Check(cfg, host) {
		found = append(found, finding{warning, "foreign-rules", w.Text, w.Hint})
	}
	return found
}

// checkSecrets warns about secrets that an attacker can guess.
func checkSecrets(cfg *config.Config, list clients.List, env cli.Env) (found []finding) {
	add := func(code, hint, format string, args ...any) { found = append(found, warn(code, hint, format, args...)) }
	now := env.Now()
	if weakness := secrets.Weakness(cfg.PortSecret.Current); weakness != "" {
		add("weak-port-secret", "\"sallyportd port-secret roll\" makes a strong one", "the port secret is weak, %s", weakness)
	}
	if cfg.PortSecret.Previous != "" && now.Before(cfg.PortSecret.Until) {
		if weakness := secrets.Weakness(cfg.PortSecret.Previous); weakness != "" {
			add("weak-previous-port-secret", "", "the previous port secret, valid until %s, is weak, %s", env.Time(cfg.PortSecret.Until), weakness)
		}
	}
	for _, c := range list {
		if weakness := secrets.Weakness(string(c.Secret)); weakness != "" {
			add("weak-client-secret", fmt.Sprintf("\"sallyportd client rotate %s\" makes a strong one", c.Identifier),
				"the secret of client %s is weak, %s from one captured knock", c.Identifier, weakness)
		}
	}
	for _, c := range list {
		if c.Previous == nil || !now.Before(c.Until) {
			continue
		}
		if weakness := secrets.Weakness(string(c.Previous)); weakness != "" {
			add("weak-old-client-secret", "", "the old secret of client %s, valid until %s, is weak, %s from one captured knock", c.Identifier, env.Time(c.Until), weakness)
		}
	}
	for _, o := range cfg.Operations {
		if weakness := secrets.Weakness(o.Secret); !o.Signed && weakness != "" {
			add("weak-operation-secret", "\"openssl rand -hex 32\" makes a strong one", "the secret of operation %q is weak, %s from one captured exchange", o.ID, weakness)
		}
	}
	return found
}

// checkState reads the record of used nonces. It returns an error if the server
// would refuse the record.
func checkState(ctx context.Context, cfg *config.Config, env cli.Env) ([]finding, error) {
	contents, err := readState(ctx, cfg)
	var damaged *state.DamagedError
	var newer *state.NewerError
	switch {
	case errors.As(err, &damaged), errors.As(err, &newer):
		return nil, err
	case errors.Is(err, fs.ErrNotExist):
		return []finding{warn("no-nonce-record", "\"sallyportd init\" makes one for a server that has never run",
			"%s holds no record of used nonces yet: \"serve\" makes one, and rejects knocks for the first minute, since an earlier record may be lost", cfg.StateDir)}, nil
	case err != nil:
		return []finding{warn("nonce-record-unreadable", "", "cannot read the record of used nonces: %v", err)}, nil
	}
	return gapFindings(contents, env), nil
}
