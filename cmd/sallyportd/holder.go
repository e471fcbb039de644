package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/cmd/sallyportd/internal/sandbox"
	"sallyport/cmd/sallyportd/internal/shield"
	"sallyport/cmd/sallyportd/internal/trial"
	"sallyport/sessions/durable"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/holder"
)

const helperName = "firewall-helper"

// holderCommand is the holder that "serve" starts.
func holderCommand(env cli.Env) *cobra.Command {
	var path string
	var takeOver bool
	var try trialFlag
	c := &cobra.Command{
		Use:    helperName,
		Short:  "Hold the firewall for a server; the server starts this command itself",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			h, err := holderSettings(path, takeOver, try, env)
			if err != nil {
				return err
			}
			// It has the user of its server, which locks the directory before the holder claims.
			h.Prepare = func() { durable.MkdirAll(h.Files.Write[0], 0o700) }
			log := openLog(env, logSettings{path: path, holder: true})
			defer log.stop()
			return privilege.HoldFor(h, log.Logger)
		},
	}
	addConfigFlag(c, env, &path)
	addTakeOverFlag(c, &takeOver)
	addTrialFlag(c.Flags(), &try)
	return c
}

func firewallHoldCommand(env cli.Env) *cobra.Command {
	var path string
	var takeOver bool
	var try trialFlag
	c := &cobra.Command{
		Use:   "hold",
		Short: "Hold the firewall closed, and the shield, for the server",
		Long: `Hold the firewall closed, and change it for the server.

The holder closes the services behind the firewall, keeps them closed whether a
server runs or not, and restores the table if another program removes it. The
server connects to the holder at firewall_socket. When the server ends, for any
reason, the holder closes everything for new connections; the next server takes
over.

With shield = "xdp", the holder also loads the program at the network driver when
a server begins, and detaches it when the server ends. If the configuration
requires no firewall, the holder makes no table, and has the shield only.

The holder requires CAP_NET_ADMIN, and CAP_BPF for the shield, drops all other privileges, and reads neither
clients nor their secrets. On SIGHUP it reads the configuration again. Nothing opens
during that; a server that runs with the earlier configuration must be restarted.
A change of user or firewall_socket requires a restart of the holder. With --trial,
services that were not hidden before are hidden for a time only, as with "serve
--trial". SIGINT and
SIGTERM end the holder: the table stays, closed. If on_exit is "clear", the table
is removed instead, and its services are open to anyone.

Exit codes: 0 the table exists and is closed, or is removed because on_exit is
"clear"; 1 or 2 it may be open.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := holderSettings(path, takeOver, try, env)
			if err != nil {
				return err
			}
			h.HandOver = env.HandOver
			log := openLog(env, logSettings{path: path, holder: true})
			defer log.stop()
			return privilege.HoldAlone(c.Context(), h, log.Logger)
		},
	}
	addConfigFlag(c, env, &path)
	addTakeOverFlag(c, &takeOver)
	addTrialFlag(c.Flags(), &try)
	return c
}

// holderSettings returns what a holder needs, from the configuration at a path.
func holderSettings(path string, takeOver bool, try trialFlag, env cli.Env) (h privilege.Holding, err error) {
	cfg, _, err := loadHeld(path)
	if err == nil {
		err = try.check(cfg)
	}
	if err != nil {
		return h, err
	}
	setLogFormat(cfg)
	load := shield.Load
	var confined sandbox.Report
	return privilege.Holding{
		LoadEarly: shield.LoadEarly,
		TakeEarly: func(descriptors map[string]int) error {
			early, err := shield.TakeEarly(descriptors)
			if err == nil {
				load = early.Load
			}
			return err
		},
		User: cfg.User, Socket: cfg.FirewallSocket, Clock: env.Clock, TakeOver: takeOver, Shield: cfg.Shield != nil,
		Files: cfg.HolderFiles(), Confined: func(r sandbox.Report) { confined = r },
		Load: func() (held privilege.Held, err error) {
			cfg, guards, err := loadHeld(path)
			if err == nil {
				err = confined.Admits(cfg.HolderFiles())
			}
			if err != nil {
				return held, confined.Explain(privilege.Unreadable(err))
			}
			held = privilege.Held{Policy: cfg.ShieldPolicy()}
			if guards {
				table, err := tableOf(cfg)
				if err != nil {
					return held, err
				}
				held = privilege.Held{
					Guards: true, Owner: ownerOf(cfg), Firewall: table, Policy: cfg.Policy(), Schedule: scheduleOf(path, &confined),
					ClearOnExit: cfg.ClearOnExit,
					Trial: func(q privilege.TrialQuestion) (a privilege.TrialAnswer, err error) {
						if !takeOver && checkOwner(q.Before, cfg) != nil {
							return a, nil // the table is not replaced: no trial begins
						}
						if q.Asked == nil {
							q.Asked = try.asked
						}
						return decideTrial(cfg, q, env.Clock)
					},
					Unconfirmed: func() (map[access.ServiceID]bool, error) { return unconfirmed(cfg) },
					Confirmed:   func() (map[access.ServiceID]bool, error) { return confirmed(cfg) },
					Stopped:     func() error { return trial.Stop(cfg.StateDir) },
				}
			}
			held.Sandbox = confined.Text()
			if p := held.Policy.Shield; p != nil {
				held.Shield = func(r holder.ShieldRequest, log *slog.Logger) (holder.Shield, error) { return load(*p, r, log) }
			}
			return held, nil
		},
	}, nil
}

// scheduleOf returns a function that reads the schedule of the knock ports from the
// configuration, again at each call.
func scheduleOf(path string, confined *sandbox.Report) func() (holder.Schedule, error) {
	return func() (holder.Schedule, error) {
		cfg, err := config.Load(path, config.PortSecrets)
		if err != nil {
			return holder.Schedule{}, confined.Explain(privilege.Unreadable(err))
		}
		return cfg.Schedule(), nil
	}
}

// loadHeld reads a configuration that requires the firewall (guards), or has the shield.
func loadHeld(path string) (cfg *config.Config, guards bool, err error) {
	cfg, guards, err = loadOnHost(path)
	if err == nil && !guards && cfg.Shield == nil {
		err = cli.Misuse(cli.WithHint(fmt.Errorf("%s requires neither the firewall nor the shield", path),
			"services of type \"firewall\" and stealth = true require the firewall; shield = \"xdp\" has the shield"+leftoverHint(cfg)))
	}
	return cfg, guards, err
}

// loadOnHost reads a configuration, checks it against this host, and reports whether it
// requires the firewall here.
func loadOnHost(path string) (cfg *config.Config, guards bool, err error) {
	cfg, err = config.Load(path, config.Alone)
	if err != nil {
		return nil, false, cli.Misuse(err)
	}
	host, err := privilege.Probe()
	if err != nil {
		return nil, false, err
	}
	if err := cfg.Check(host); err != nil {
		return nil, false, cli.Misuse(err)
	}
	return cfg, cfg.NeedsFirewall(host) != "", nil
}

// loadFirewall reads a configuration that requires the firewall.
func loadFirewall(path string) (*config.Config, error) {
	cfg, guards, err := loadOnHost(path)
	if err != nil {
		return nil, err
	}
	if !guards {
		return nil, cli.Misuse(cli.WithHint(fmt.Errorf("%s does not require the firewall", path),
			"services of type \"firewall\" and stealth = true require it"+leftoverHint(cfg)))
	}
	return cfg, nil
}
