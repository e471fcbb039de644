package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/verify/wire"
)

func clientAllowCommand(env cli.Env) *cobra.Command {
	var path string
	var all, asJSON bool
	c := &cobra.Command{
		Use:   "allow IDENTIFIER [SERVICE…]",
		Short: "Set which services a client may open",
		Long: `Set which services a client may open: the named ones, and no others.

The command waits until the running server, if there is one, has applied the
change. The server then ends the client's leases and connections of all other
services, even if it refuses the clients file because of another line. To open
more services, it must accept the file. If the server refuses the file, and the
client may open less than it should, the exit code is 1.`,
		Example: "  sallyportd client allow k7Qx web ssh\n  sallyportd client allow k7Qx --all",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) > 1) {
				return cli.Misuse(errors.New("expected either names of services, or --all"))
			}
			cfg, _, client, err := loadClient(c.Context(), env, path, args[0], config.Alone)
			if err != nil {
				return err
			}
			names := distinct(args[1:])
			before := observableService(cfg, client)
			client.Allow(names)
			if err := checkServiceNames(cfg, client); err != nil {
				return cli.Misuse(err)
			}
			list := clientsOf(cfg, env)
			err = list.edit(c.Context(), []wire.Identifier{client.Identifier}, func(lines []clients.Line) ([]clients.Line, error) {
				i, err := clients.Find(lines, client.Identifier)
				if err == nil {
					lines[i].Client.Allow(names)
				}
				return lines, err
			})
			if err != nil {
				return err
			}
			result := clientResult{Identifier: client.Identifier.String(), Changed: true}
			result.ProfileOutdated = observableService(cfg, client) != before
			services := "every service"
			ask := list.apply(c.Context())
			result.Services = new([]string)
			if !all {
				*result.Services = names
				services = strings.Join(names, ", ")
				restriction := admin.Restriction{Client: client.Identifier.String(), Services: names}
				ask = restrict(c.Context(), restriction, result.warn)
			}
			change := fmt.Sprintf("client %s may open %s", client.Identifier, services)
			running, err := applyChange(c.Context(), cfg, change, ask)
			if asJSON {
				result.setServer(running, err)
				return errors.Join(env.Out().JSON(result), err)
			}
			result.printWarnings(env)
			if err != nil {
				return err
			}
			err = env.Out().Printf("Client %s may open %s.\n%s\n", client.Identifier, services, serverLine(cfg, running))
			if err == nil && result.ProfileOutdated {
				err = env.Err().Warning("the client's profile is outdated: it names another service to watch",
					withConfig(fmt.Sprintf("give the client its new profile: sallyportd client profile %s", client.Identifier), cfg.Path))
			}
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every service, including future ones")
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// restrict returns a request that takes rights from a client, whether the server
// accepts the list of clients or not. It fails if the server refuses the list, and
// the client lacks rights that it should have.
func restrict(ctx context.Context, r admin.Restriction, warn func(string)) func(admin.Conn) error {
	return func(c admin.Conn) error {
		done, err := c.Restrict(ctx, r)
		switch {
		case err != nil:
			return err
		case done.Less:
			return &partlyRefusedError{done.Refused}
		case done.Refused != "":
			warn("the running server refuses the rest of the list of clients, and keeps its earlier content: " + done.Refused)
		}
		if done.Owed {
			return &holderGoneError{}
		}
		return nil
	}
}

// partlyRefusedError reports that the server has revoked rights, but granted
// none, because it refuses the list of clients.
type partlyRefusedError struct{ reason string }

func (e *partlyRefusedError) Error() string {
	return "the server has revoked what the client may no longer open, and refuses the rest of the list: " + e.reason
}

// holderGoneError reports that a client has lost its rights, but the kernel may
// still accept its packets.
type holderGoneError struct{}

func (*holderGoneError) Error() string {
	return "the firewall's holder is gone: the client's open services behind the firewall close when a holder runs again"
}

// Hint returns what to do.
func (*holderGoneError) Hint() string { return "start \"sallyportd firewall hold\" again" }

// checkServiceNames returns an error if a client may open services that are not
// configured.
func checkServiceNames(cfg *config.Config, c clients.Client) error {
	if err := c.CheckServices(cfg.ServiceNames()); err != nil {
		return cli.WithHint(err, "the services are in "+cfg.Path)
	}
	return nil
}

// distinct returns the names in their order, each once.
func distinct(names []string) []string {
	var found []string
	for _, name := range names {
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}
