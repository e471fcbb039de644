package main

import (
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
		clientAllowCommand(env), clientRotateCommand(env), clientRevokeCommand(env))
	return group
}

func clientProfileCommand(env cli.Env) *cobra.Command {
	var path string
	var out profileOutput
	c := &cobra.Command{
		Use:   "profile IDENTIFIER",
		Short: "Print a client's profile again, with the current port secret",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, existing, err := loadClient(path, args[0], config.Secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			if err := raiseHighestNonce(c.Context(), cfg, &existing); err != nil {
				return err
			}
			printed, err := out.deliver(env, cfg, existing, func() error { return nil })
			if err != nil {
				return err
			}
			return out.report(env, clientResult{Identifier: existing.Identifier.String(), profileResult: printed})
		},
	}
	out.flags(c)
	addConfigFlag(c, env, &path)
	return c
}

// unknownClient is the error about a client that the clients file does not name.
func unknownClient(cfg *config.Config, id wire.Identifier) error {
	return cli.WithHint(fmt.Errorf("there is no client %s in %s", id, cfg.ClientsPath), "sallyportd client list -c "+quoted(cfg.Path))
}

// loadClient reads the configuration, and finds a client in it.
func loadClient(path, name string, need config.Need) (*config.Config, clients.Client, error) {
	cfg, list, err := loadLenient(path, need)
	if err != nil {
		return nil, clients.Client{}, err
	}
	id, err := secrets.ParseIdentifier(name)
	if err != nil {
		return nil, clients.Client{}, err
	}
	for _, c := range list {
		if c.Identifier == id {
			return cfg, c, nil
		}
	}
	return nil, clients.Client{}, unknownClient(cfg, id)
}
