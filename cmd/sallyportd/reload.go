package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

func reloadCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have the running server read its configuration and clients again",
		Long: `Have the running server read its configuration and clients again.

Everything is checked before anything changes; if something is wrong, the
server goes on as it was, and the error is printed here. SIGHUP does the same.
A change of the clients file is noticed without either.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			clients, err := admin.Client{Socket: cfg.AdminSocket}.Reload(c.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "reloaded: %d clients\n", clients)
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}
