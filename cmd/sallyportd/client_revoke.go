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
)

func clientRevokeCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "revoke IDENTIFIER",
		Short: "Remove a client; a running server cuts it off",
		Long: `Remove a client, and wait until the running server has cut it off: its leases
and connections end.

If the server refuses the clients file, the exit code is 1 and the error says
why: the client keeps its access until the file is fixed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, revoked, err := loadClient(path, args[0], config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			err = clients.Edit(c.Context(), cfg.ClientsPath, func(lines []clients.Line) ([]clients.Line, error) {
				i, err := clients.Find(lines, revoked.Identifier)
				if err != nil {
					return nil, err
				}
				return append(lines[:i], lines[i+1:]...), nil
			})
			if err != nil {
				return err
			}
			done, err := cutOff(c.Context(), cfg.AdminSocket)
			if err != nil {
				return cli.WithHint(fmt.Errorf("removed %s from %s, but the running server has not cut it off: %w", revoked.Identifier, cfg.ClientsPath, err),
					"the client keeps its access until the server reads the file: fix the cause, then sallyportd reload -c "+cfg.Path)
			}
			_, err = fmt.Fprintf(env.Stdout, `Revoked %s. %s
Its owner still knows the port secret: the ports, not the way in. To
change that too, for all clients:
  sallyportd port-secret roll -c %s
`, revoked.Identifier, done, cfg.Path)
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

// cutOff waits until the running server, if there is one, has read the clients
// file, and says what came of it.
func cutOff(ctx context.Context, socket string) (done string, err error) {
	_, err = admin.Client{Socket: socket}.ReloadClients(ctx)
	var unreachable *admin.UnreachableError
	switch {
	case err == nil:
		return "The running server has cut it off.", nil
	case errors.As(err, &unreachable) && unreachable.Stopped():
		return "No server answers at " + socket + ", so there was none to cut it off.", nil
	}
	return "", err
}
