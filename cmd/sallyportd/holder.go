package main

import (
	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
)

const helperName = "firewall-helper"

// holderCommand is the second process, which "serve" starts.
func holderCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:    helperName,
		Short:  "Change the firewall for a server, which starts this by itself",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return err
			}
			log, _, stop := openLog(env)
			defer stop()
			return privilege.Hold(privilege.Holding{
				User: cfg.User, Firewall: cfg.Firewall(), Policy: cfg.Policy(), Clock: env.Clock, ClearOnExit: cfg.ClearOnExit,
			}, log)
		},
	}
	addConfigFlag(c, &path)
	return c
}
