package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/verify/wire"
)

func clientCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "client", Short: "Add, list, restrict, rotate and revoke clients"})
	group.AddCommand(clientAddCommand(env), clientListCommand(env), clientProfileCommand(env),
		clientAllowCommand(env), clientExpireCommand(env), clientRotateCommand(env), clientResyncCommand(env), clientRevokeCommand(env),
		clientImportCommand(env), clientExportCommand(env), clientAcceptCommand(env))
	return group
}

func clientProfileCommand(env cli.Env) *cobra.Command {
	var path, dir string
	var all, force bool
	out := profileOutput{again: true}
	c := &cobra.Command{
		Use:   "profile [IDENTIFIER]",
		Short: "Print a client's profile again, with the current settings",
		Long: `Print a client's profile again, with the current settings.

A profile repeats the client's secret, and of the configuration: server, ports,
generator, the port secret, and the port of a service. After a change of any of
these, the client needs its profile again.

With --all and --out-dir, the command writes the profiles of all clients to files
that only this user can read. A file that only lacks the latest nonce counts as
unchanged.`,
		Example: "  sallyportd client profile k7Qx --out k7Qx.toml\n  sallyportd client profile --all --out-dir profiles",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case all == (len(args) == 1):
				return cli.Misuse(errors.New("expected either an identifier, or --all"))
			case all && dir == "":
				return cli.Misuse(errors.New("--all requires --out-dir DIR, for the files"))
			case !all && (dir != "" || force):
				return cli.Misuse(errors.New("--out-dir and --force require --all; for one client, expected --out FILE"))
			case all:
				return out.deliverAll(c.Context(), env, path, dir, force)
			}
			cfg, list, existing, err := loadClient(c.Context(), env, path, args[0], config.Secrets)
			if err != nil {
				return err
			}
			if err := raiseHighestNonce(c.Context(), cfg, &existing); err != nil {
				return err
			}
			printed, err := out.deliver(c.Context(), env, cfg, list, existing, func() error { return nil })
			if err != nil {
				return err
			}
			result := clientResult{Identifier: existing.Identifier.String()}
			result.add(printed)
			return out.report(env, result)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "the profiles of all clients")
	c.Flags().StringVar(&dir, "out-dir", "", "write the profiles of --all to this `directory`, which is made if necessary")
	c.Flags().BoolVar(&force, "force", false, "replace files of --out-dir that have other content")
	out.flags(c)
	addConfigFlag(c, env, &path)
	return c
}

// unknownClient is the error about a client that the list does not name.
func unknownClient(cfg *config.Config, id wire.Identifier) error {
	return cli.WithHint(fmt.Errorf("there is no client %s in %s", id, cfg.ClientsPlace()), "sallyportd client list -c "+quoted(cfg.Path))
}

// loadClient reads the configuration, and finds a client in it.
func loadClient(
	ctx context.Context, env cli.Env, path, name string, need config.Need,
) (*config.Config, clients.List, clients.Client, error) {
	cfg, list, err := loadLenient(ctx, env, path, need)
	if err != nil {
		return nil, nil, clients.Client{}, err
	}
	id, err := secrets.ParseIdentifier(name)
	if err != nil {
		return nil, nil, clients.Client{}, cli.Misuse(err)
	}
	for _, c := range list {
		if c.Identifier == id {
			return cfg, list, c, nil
		}
	}
	return nil, nil, clients.Client{}, cli.Misuse(unknownClient(cfg, id))
}
