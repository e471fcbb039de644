package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/firewall"
)

func firewallCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "firewall", Short: "Hold the firewall's table, or close or remove it by hand"})
	group.AddCommand(firewallHoldCommand(env), firewallLoadCommand(env), firewallClearCommand(env))
	return group
}

func firewallLoadCommand(env cli.Env) *cobra.Command {
	var path string
	var takeOver bool
	c := &cobra.Command{
		Use:   "load",
		Short: "Hide the services behind the firewall, before the server or the network is up",
		Long: `Hide the services behind the firewall, before the server or the network is up.

It takes CAP_NET_ADMIN, and reads the configuration only, neither secrets nor
clients. The table stays until "firewall clear"; "serve" and "firewall hold" take
it over. Until then nothing keeps another program from removing it: "firewall
hold" does.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := loadFirewall(path)
			if err != nil {
				return err
			}
			if err := refuseGuarded(cfg); err != nil {
				return err
			}
			found, err := firewall.Inspect()
			if err != nil {
				return fmt.Errorf("load the firewall's table: %w", err)
			}
			if _, err := firewall.Claim(cfg.Firewall(), ownerOf(cfg), takeOver, env.Clock); err != nil {
				return fmt.Errorf("load the firewall's table: %w", whose(err))
			}
			if found.Kind != firewall.Absent {
				fmt.Fprintf(env.Stdout, "found: table inet %s%s; another takes its place\n", firewall.Name, of(found))
			}
			_, err = fmt.Fprintf(env.Stdout, "loaded: table inet %s, everything closed\n", firewall.Name)
			return err
		},
	}
	addConfigFlag(c, &path)
	addTakeOverFlag(c, &takeOver)
	return c
}

func firewallClearCommand(env cli.Env) *cobra.Command {
	var path string
	var takeOver bool
	c := &cobra.Command{
		Use:   "clear",
		Short: "Remove the firewall's table: the services behind it are open to everybody then",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			found, err := firewall.Inspect()
			if err != nil {
				return fmt.Errorf("remove the firewall's table: %w", err)
			}
			// With a configuration that cannot be read, this is still the way out
			// for a table that names it, or none.
			cfg, unread := config.Load(path, config.Alone)
			if unread != nil {
				cfg = &config.Config{Path: path}
			}
			if err := refuseGuarded(cfg); err != nil {
				return err
			}
			if err := refuseOthers(found, cfg); err != nil && !takeOver {
				return fmt.Errorf("remove the firewall's table: %w", err)
			}
			if found.Kind == firewall.Absent {
				_, err = fmt.Fprintf(env.Stdout, "there is no table inet %s\n", firewall.Name)
				return err
			}
			if err := firewall.Clear(); err != nil {
				return fmt.Errorf("remove the firewall's table: %w", err)
			}
			_, err = fmt.Fprintf(env.Stdout, "removed: table inet %s%s; what it hid is open to everybody now\n", firewall.Name, of(found))
			return err
		},
	}
	addConfigFlag(c, &path)
	addTakeOverFlag(c, &takeOver)
	return c
}
