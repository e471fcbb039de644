package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/gate/helper"
)

const helperName = "firewall-helper"

// holderCommand is the holder that "serve" starts.
func holderCommand(env cli.Env) *cobra.Command {
	var path string
	var takeOver bool
	c := &cobra.Command{
		Use:    helperName,
		Short:  "Hold the firewall for a server, which starts this by itself",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			h, err := holding(path, takeOver, env)
			if err != nil {
				return err
			}
			log, _, stop := openLog(env)
			defer stop()
			return privilege.HoldFor(h, log)
		},
	}
	addConfigFlag(c, &path)
	addTakeOverFlag(c, &takeOver)
	return c
}

func firewallHoldCommand(env cli.Env) *cobra.Command {
	var path string
	var takeOver bool
	c := &cobra.Command{
		Use:   "hold",
		Short: "Hold the firewall closed, and change it for the server",
		Long: `Hold the firewall closed, and change it for the server.

Closes what is behind the firewall, keeps it closed whether a server runs or
not, and makes the table anew if another program removes it. The server reaches
this process at firewall_socket. If the server ends, however, everything is
closed for new connections; the next server takes over. It takes CAP_NET_ADMIN,
drops everything else, and reads neither clients nor their secrets. SIGHUP has
it read the configuration again, without a moment in which anything is open; a
server that runs by the configuration before has to be restarted. (user and
firewall_socket take a restart of this process.) SIGINT and SIGTERM end it: the
table stays, closed, unless on_exit is "clear".

Exit codes: 0 the table is there and closed, or gone as on_exit says; 1 or 2:
it may be open.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := holding(path, takeOver, env)
			if err != nil {
				return err
			}
			log, _, stop := openLog(env)
			defer stop()
			return privilege.HoldAlone(c.Context(), h, log)
		},
	}
	addConfigFlag(c, &path)
	addTakeOverFlag(c, &takeOver)
	return c
}

// holding is what a holder needs, by the configuration at a path.
func holding(path string, takeOver bool, env cli.Env) (h privilege.Holding, err error) {
	cfg, err := loadFirewall(path)
	if err != nil {
		return h, err
	}
	return privilege.Holding{
		User: cfg.User, Socket: cfg.FirewallSocket, Clock: env.Clock, TakeOver: takeOver,
		Load: func() (privilege.Held, error) {
			cfg, err := loadFirewall(path)
			if err != nil {
				return privilege.Held{}, privilege.Unreadable(err)
			}
			return privilege.Held{
				Owner: ownerOf(cfg), Firewall: cfg.Firewall(), Policy: cfg.Policy(), Schedule: scheduleOf(path), ClearOnExit: cfg.ClearOnExit,
			}, nil
		},
	}, nil
}

// scheduleOf reads from which ports knocks may come, each time anew.
func scheduleOf(path string) func() (helper.Schedule, error) {
	return func() (helper.Schedule, error) {
		cfg, err := config.Load(path, config.PortSecrets)
		if err != nil {
			return helper.Schedule{}, privilege.Unreadable(err)
		}
		return cfg.Schedule(), nil
	}
}

// loadFirewall reads a configuration that has something for the firewall.
func loadFirewall(path string) (*config.Config, error) {
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
	if cfg.NeedsFirewall(host) == "" {
		return nil, cli.Misuse(cli.WithHint(fmt.Errorf("%s has nothing for the firewall", path), "it is for services of type \"firewall\", and for stealth"+left(cfg)))
	}
	return cfg, nil
}
