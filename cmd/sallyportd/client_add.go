package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/verify/wire"
)

func clientAddCommand(env cli.Env) *cobra.Command {
	var path, note string
	var services []string
	var out profileOutput
	c := &cobra.Command{
		Use:   "add [IDENTIFIER]",
		Short: "Register a client with a random secret, and print its profile",
		Long: `Register a client with a random secret, and print its profile.

Without an identifier a random one is made; hard to guess is better, since
knocks in the name of nobody cost the server next to nothing. Make one client
a device: two devices with one profile take each other's nonces.

Waits until the running server, if there is one, has taken the client. If the
server refuses, the exit code is 1 and the error says why.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if strings.ContainsAny(note, "\r\n") {
				return cli.Misuse(errors.New("--note: expected text on a single line"))
			}
			cfg, list, err := loadAll(path, config.Secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			added := clients.Client{Secret: []byte(secrets.Random()), Note: strings.TrimSpace(note)}
			added.Allow(services)
			if err := allowable(cfg, added); err != nil {
				return cli.Misuse(err)
			}
			if len(args) == 1 {
				if added.Identifier, err = secrets.ParseIdentifier(args[0]); err != nil {
					return cli.Misuse(err)
				}
			} else {
				added.Identifier = unusedIdentifier(list)
			}
			if err := raiseMark(c.Context(), cfg, &added); err != nil {
				return err
			}
			err = out.deliver(env, cfg, added, func() error {
				return clients.Edit(c.Context(), cfg.ClientsPath, func(lines []clients.Line) ([]clients.Line, error) {
					if _, err := clients.Find(lines, added.Identifier); err == nil {
						return nil, cli.Misuse(cli.WithHint(fmt.Errorf("client %s is there already", added.Identifier), "choose another identifier, or leave it out for a random one"))
					}
					return append(lines, clients.Line{Client: &added}), nil
				})
			})
			if err != nil {
				return err
			}
			return sayInForce(c.Context(), env, cfg, fmt.Sprintf("client %s is registered", added.Identifier))
		},
	}
	c.Flags().StringVar(&note, "note", "", "whose device it is, for the list")
	c.Flags().StringSliceVar(&services, "services", nil, "the `names` of the services that it may open, divided by commas (default all)")
	out.flags(c)
	addConfigFlag(c, &path)
	return c
}

func unusedIdentifier(list clients.List) wire.Identifier {
	used := map[wire.Identifier]bool{}
	for _, c := range list {
		used[c.Identifier] = true
	}
	for {
		if id := secrets.RandomIdentifier(); !used[id] {
			return id
		}
	}
}
