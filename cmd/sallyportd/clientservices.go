package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
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
			cfg, client, err := loadClient(path, args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			client.services = strings.Join(args[1:], ",")
			if err := client.allowable(cfg); err != nil {
				return cli.Misuse(err)
			}
			err = editClients(c.Context(), cfg.clientsPath, func(lines []clientLine) ([]clientLine, error) {
				i, err := find(lines, client.identifier)
				if err == nil {
					lines[i].client.services = client.services
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
			_, err = fmt.Fprintf(env.Stdout, "%s may open %s.\n", client.identifier, what)
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every service, those to come included")
	addConfigFlag(c, &path)
	return c
}

// allowable refuses services that are not there.
func (c registered) allowable(cfg config) error {
	if err := c.checkServices(cfg.serviceNames()); err != nil {
		return cli.WithHint(err, "the services are in "+cfg.path)
	}
	return nil
}
