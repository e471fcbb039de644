package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
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
	c := &cobra.Command{
		Use:   "load",
		Short: "Hide the services behind the firewall, before the server or the network is up",
		Long: `Hide the services behind the firewall, before the server or the network is up.

It takes CAP_NET_ADMIN, and reads the configuration only, neither secrets nor
clients. The table stays until "firewall clear"; "serve" takes it over.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := loadFirewall(path)
			if err != nil {
				return err
			}
			if err := refuseRunning(cfg); err != nil {
				return err
			}
			if _, err := firewall.Claim(cfg.Firewall(), env.Clock); err != nil {
				return fmt.Errorf("load the firewall's table: %w", err)
			}
			_, err = fmt.Fprintf(env.Stdout, "loaded: table inet %s, everything closed\n", firewall.Name)
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

func firewallClearCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "clear",
		Short: "Remove the firewall's table: the services behind it are open to everybody then",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			// With a configuration that cannot be read, this is still the way out.
			if cfg, err := config.Load(path, config.Alone); err == nil {
				if err := refuseRunning(cfg); err != nil {
					return err
				}
			}
			there, err := firewall.Present()
			if err == nil && there {
				err = firewall.Clear()
			}
			if err != nil {
				return fmt.Errorf("remove the firewall's table: %w", err)
			}
			said := "removed: table inet %s; what it hid is open to everybody now\n"
			if !there {
				said = "there is no table inet %s\n"
			}
			_, err = fmt.Fprintf(env.Stdout, said, firewall.Name)
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

// refuseRunning leaves a running server its table.
func refuseRunning(cfg *config.Config) error {
	if !admin.Running(cfg.AdminSocket) {
		return nil
	}
	return cli.WithHint(fmt.Errorf("a server answers at %s, and keeps the table", cfg.AdminSocket), "stop it first")
}
