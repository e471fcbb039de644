package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
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

Waits until the running server, if there is one, has taken it: what the client
has open of other services ends. That it ends, no fault elsewhere in the clients
file prevents; to open more takes a file that the server does not refuse. If it
refuses, and the client may open less than it should, the exit code is 1.`,
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
			ask := reloadClients(c.Context())
			if !all {
				ask = restrict(c.Context(), env, admin.Restriction{Client: client.Identifier.String(), Services: args[1:]})
			}
			said, err := inForce(c.Context(), cfg, fmt.Sprintf("client %s may open %s", client.Identifier, what), ask)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "%s may open %s.\n%s\n", client.Identifier, what, said)
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every service, those to come included")
	addConfigFlag(c, &path)
	return c
}

// restrict has the server take rights from a client, whether it refuses the
// clients file or not. It is an error if it refuses, and the client lacks rights
// that it should have.
func restrict(ctx context.Context, env cli.Env, r admin.Restriction) func(admin.Client) error {
	return func(c admin.Client) error {
		done, err := c.Restrict(ctx, r)
		switch {
		case err != nil:
			return err
		case done.Less:
			return fmt.Errorf("the server has taken from it what it may no longer open, and refuses the file otherwise: %s", done.Refused)
		case done.Refused != "":
			fmt.Fprintf(env.Stderr, "warning: the running server refuses the clients file otherwise, and goes on as it was: %s\n", done.Refused)
		}
		if done.Owed {
			return &owedError{}
		}
		return nil
	}
}

// owedError says that a client has lost its rights, and perhaps not what the
// kernel still lets in.
type owedError struct{}

func (*owedError) Error() string {
	return "what the client has open behind the firewall ends when there is a holder again: the firewall's holder is gone"
}

// Hint says what to do.
func (*owedError) Hint() string { return "start \"sallyportd firewall hold\" again" }

// allowable refuses services that are not configured.
func allowable(cfg *config.Config, c clients.Client) error {
	if err := c.CheckServices(cfg.ServiceNames()); err != nil {
		return cli.WithHint(err, "the services are in "+cfg.Path)
	}
	return nil
}
