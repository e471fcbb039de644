package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
)

func clientAllowCommand(env cli.Env) *cobra.Command {
	var path string
	var all bool
	c := &cobra.Command{
		Use:   "allow IDENTIFIER [SERVICE…]",
		Short: "Say which services a client may open",
		Long: `Say which services a client may open: those named, and no others.

A running server notices it by itself, and ends what the client has open of
other services.`,
		Example: "  sallyportd client allow k7Qx web ssh\n  sallyportd client allow k7Qx --all",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) > 1) {
				return cli.Misuse(errors.New("expected either names of services, or --all"))
			}
			cfg, client, err := loadClient(path, args[0], config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			client.Allow(args[1:])
			if err := allowable(cfg, client); err != nil {
				return cli.Misuse(err)
			}
			err = clients.Edit(c.Context(), cfg.ClientsPath, func(lines []clients.Line) ([]clients.Line, error) {
				i, err := clients.Find(lines, client.Identifier)
				if err == nil {
					lines[i].Client.Allow(args[1:])
				}
				return lines, err
			})
			if err != nil {
				return err
			}
			what := "every service"
			if !all {
				what = strings.Join(args[1:], ", ")
			}
			_, err = fmt.Fprintf(env.Stdout, "%s may open %s.\n", client.Identifier, what)
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every service, those to come included")
	addConfigFlag(c, &path)
	return c
}

// allowable refuses services that are not configured.
func allowable(cfg *config.Config, c clients.Client) error {
	if err := c.CheckServices(cfg.ServiceNames()); err != nil {
		return cli.WithHint(err, "the services are in "+cfg.Path)
	}
	return nil
}
