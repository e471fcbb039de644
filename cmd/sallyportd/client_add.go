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
	var path, note, expires string
	var services []string
	out := profileOutput{undone: "no client was added"}
	c := &cobra.Command{
		Use:        "add [IDENTIFIER]",
		SuggestFor: []string{"new", "create", "register"},
		Short:      "Register a client with a random secret, and print its profile",
		Long: `Register a client with a random secret, and print its profile.

Without an identifier, the command makes a random one. That is better than a
name that can be guessed: the server rejects a knock with an unknown identifier
at almost no cost. Add one client for each device: two devices with the same
profile use each other's nonces.

--expires is ` + whenForms + `.

The command waits until the running server, if there is one, has applied the
change. If the server refuses it, the exit code is 1, and the error is the reason.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if strings.ContainsAny(note, "\r\n") {
				return cli.Misuse(errors.New("--note: expected text on a single line"))
			}
			cfg, list, err := loadAll(c.Context(), env, path, config.Secrets)
			if err != nil {
				return err
			}
			added := clients.Client{Secret: []byte(secrets.Random()), Note: strings.TrimSpace(note)}
			added.Allow(distinct(services))
			if expires != "" {
				if added.Expires, err = parseExpiry(expires, env.Now()); err != nil {
					return cli.Misuse(fmt.Errorf("--expires: %w", err))
				}
			}
			if err := checkServiceNames(cfg, added); err != nil {
				return cli.Misuse(err)
			}
			if len(args) == 1 {
				if added.Identifier, err = secrets.ParseIdentifier(args[0]); err != nil {
					return cli.Misuse(err)
				}
			} else {
				added.Identifier = unusedIdentifier(list)
			}
			if err := raiseHighestNonce(c.Context(), cfg, &added); err != nil {
				return err
			}
			printed, err := out.deliver(c.Context(), env, cfg, list, added, func() error {
				ids := []wire.Identifier{added.Identifier}
				return clientsOf(cfg, env).edit(c.Context(), ids, func(lines []clients.Line) ([]clients.Line, error) {
					if _, err := clients.Find(lines, added.Identifier); err == nil {
						return nil, cli.Misuse(cli.WithHint(fmt.Errorf("client %s exists already", added.Identifier), "choose another identifier, or give none, for a random one"))
					}
					return append(lines, clients.Line{Client: &added}), nil
				})
			})
			if err != nil {
				return err
			}
			result := clientResult{Identifier: added.Identifier.String(), Changed: true, Expires: expiryOf(added)}
			result.add(printed)
			return out.finish(c.Context(), env, cfg, fmt.Sprintf("client %s is registered", added.Identifier), result)
		},
	}
	c.Flags().StringVar(&note, "note", "", "a note for the list, such as the owner of the device")
	cli.AcceptEmpty(c, "note")
	c.Flags().StringSliceVar(&services, "services", nil, "the `names` of the services that it may open, separated by commas (default all)")
	c.Flags().StringVar(&expires, "expires", "", "from `when` on the server refuses the client: a date, a time or a duration (default never)")
	out.flags(c)
	addConfigFlag(c, env, &path)
	return c
}

// unusedIdentifier makes a random identifier that no client has.
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
