package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/verify/wire"
)

func clientRevokeCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "revoke IDENTIFIER",
		Short: "Remove a client; a running server ends its leases and connections",
		Long: `Remove a client from the clients file or from the fleet's list, and wait until
the running server has ended its leases and connections. Other gateways of a fleet
do that when they have the list, within a second.

A fault elsewhere in the clients file, or in the configuration, does not prevent
that. If the server has not revoked the client, or the client cannot be removed,
for example on a full disk, the exit code is 1. The error is the reason, and
reports what the server has done.`,
		SuggestFor: []string{"remove", "delete", "rm", "del"},
		Args:       cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := secrets.ParseIdentifier(args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			result := clientResult{Identifier: id.String()}
			cfg, err := loadOrLocate(path, result.warn)
			if err != nil {
				return cli.Misuse(err)
			}
			running, err := revoke(c.Context(), env, cfg, id, &result)
			if asJSON {
				if result.Changed || len(result.Warnings) > 0 {
					err = errors.Join(env.Out().JSON(result), err)
				}
				return err
			}
			result.printWarnings(env)
			if err != nil {
				return err
			}
			done := "The running server has ended its leases and connections."
			if !running {
				done = "No server answers at " + cfg.AdminSocket + ", so no lease was open."
			}
			return env.Out().Printf(`Revoked %s. %s
Its owner still knows the port secret, and so the ports, but cannot open
anything. To change the port secret too, for all clients:
  sallyportd port-secret roll -c %s
`, id, done, cfg.Path)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// revoke removes a client from the list and from the running server.
func revoke(
	ctx context.Context, env cli.Env, cfg *config.Config, id wire.Identifier, result *clientResult,
) (running bool, err error) {
	found, err := clientsOf(cfg, env).remove(ctx, id)
	if err != nil {
		return false, revokeInServer(ctx, cfg, id, err, result)
	}
	// The server is asked also about a client that the list does not name: it may
	// have been removed in a way that the server has not noticed.
	running, err = askServer(ctx, cfg, restrict(ctx, admin.Restriction{Client: id.String()}, result.warn))
	result.Changed = found
	result.setServer(running, err)
	var holderGone *holderGoneError
	switch {
	case errors.As(err, &holderGone) && found:
		return running, fmt.Errorf("removed %s from %s, and the server grants it nothing further, but %w", id, cfg.ClientsPlace(), err)
	case err != nil && found:
		return running, cli.WithHint(fmt.Errorf("removed %s from %s, but the running server has not revoked it: %w", id, cfg.ClientsPlace(), err),
			"the client may keep its access until the server reads the list: fix the cause, then run \"sallyportd reload\"")
	case err != nil:
		return running, err
	case !found:
		return running, cli.Misuse(unknownClient(cfg, id))
	}
	return running, nil
}

// revokeInServer makes the running server revoke a client that could not be removed
// from the list, as on a full disk. It returns the reason, and what the server has done.
func revokeInServer(
	ctx context.Context, cfg *config.Config, id wire.Identifier, reason error, result *clientResult,
) error {
	running, err := askServer(ctx, cfg, restrict(ctx, admin.Restriction{Client: id.String(), Named: true}, result.warn))
	switch {
	case err != nil:
		return fmt.Errorf("%w\nand the running server has not revoked it: %w", reason, err)
	case running:
		return cli.WithHint(fmt.Errorf("%w\nthe running server has revoked %s, but only until it reads the list again, or restarts", reason, id),
			fmt.Sprintf("fix the cause, then revoke the client again: sallyportd client revoke %s", id))
	}
	return reason
}

// loadOrLocate reads the configuration. If it is not valid, it reads only where
// the files are, and warns.
func loadOrLocate(path string, warn func(string)) (*config.Config, error) {
	cfg, err := config.Load(path, config.Alone)
	if err == nil {
		return cfg, nil
	}
	cfg, locateErr := config.Locate(path)
	if locateErr != nil {
		return nil, err
	}
	warn(err.Error())
	return cfg, nil
}
