package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/verify/wire"
)

func clientRevokeCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "revoke IDENTIFIER",
		Short: "Remove a client; a running server cuts it off",
		Long: `Remove a client, and wait until the running server has cut it off: its leases
and connections end.

Neither a fault elsewhere in the clients file nor one in the configuration
prevents that. If the server has not cut the client off all the same, or its line
cannot be removed, as on a full disk, the exit code is 1 and the error says why,
and what the server has done.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := secrets.ParseIdentifier(args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			cfg, err := locate(env, path)
			if err != nil {
				return cli.Misuse(err)
			}
			found, err := clients.Remove(c.Context(), cfg.ClientsPath, id)
			if err != nil {
				return revokeNamed(c.Context(), env, cfg, id, err)
			}
			// Also of a client that has gone from the file already: it may have gone
			// from there by a way that has not reached the server.
			running, err := askServer(c.Context(), cfg, restrict(c.Context(), env, admin.Restriction{Client: id.String()}))
			var owed *owedError
			switch {
			case errors.As(err, &owed) && found:
				return fmt.Errorf("removed %s from %s, and it is granted nothing more, but %w", id, cfg.ClientsPath, err)
			case err != nil && found:
				return cli.WithHint(fmt.Errorf("removed %s from %s, but the running server has not cut it off: %w", id, cfg.ClientsPath, err),
					"the client may keep its access until the server reads the file: fix the cause, then sallyportd reload -c "+cfg.Path)
			case err != nil:
				return err
			case !found:
				return cli.Misuse(cli.WithHint(fmt.Errorf("there is no client %s in %s", id, cfg.ClientsPath), "sallyportd client list -c "+path))
			}
			done := "The running server has cut it off."
			if !running {
				done = "No server answers at " + cfg.AdminSocket + ", so there was none to cut it off."
			}
			_, err = fmt.Fprintf(env.Stdout, `Revoked %s. %s
Its owner still knows the port secret: the ports, not the way in. To
change that too, for all clients:
  sallyportd port-secret roll -c %s
`, id, done, cfg.Path)
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

// revokeNamed has the running server cut a client off that could not be removed
// from the clients file, as on a full disk. It returns why, and what came of it.
func revokeNamed(ctx context.Context, env cli.Env, cfg *config.Config, id wire.Identifier, why error) error {
	running, err := askServer(ctx, cfg, restrict(ctx, env, admin.Restriction{Client: id.String(), Named: true}))
	switch {
	case err != nil:
		return fmt.Errorf("%w\nnor has the running server cut it off: %w", why, err)
	case running:
		return cli.WithHint(fmt.Errorf("%w\nthe running server has cut %s off, but only until it reads the file again, or starts", why, id),
			"fix the cause, then revoke it again")
	}
	return why
}

// locate reads the configuration, or, with a warning, no more of it than where
// the files are.
func locate(env cli.Env, path string) (*config.Config, error) {
	cfg, err := config.Load(path, config.Alone)
	if err == nil {
		return cfg, nil
	}
	cfg, locateErr := config.Locate(path)
	if locateErr != nil {
		return nil, err
	}
	fmt.Fprintf(env.Stderr, "warning: %v\n", err)
	return cfg, nil
}
