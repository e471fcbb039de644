package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/secrets"
)

// resyncResult is the result of "client resync" for programs.
type resyncResult struct {
	Identifier string `json:"identifier"`
	Server     string `json:"server"`
	Shield     bool   `json:"shield"` // the server has one
	Reason     string `json:"reason,omitempty"`
}

func clientResyncCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "resync IDENTIFIER",
		Short: "Let a client in again whose nonces are too far ahead for the shield",
		Long: `Let a client in again whose nonces are too far ahead for the shield.

The shield refuses knocks whose nonce is more than 1,048,576 above the highest one
that the client has used. A device that has lost its record of nonces, or comes from
an old backup, may not get nearer. After this command, the running server accepts
any unused nonce of the client, until its next knock, or until the server restarts.
Used nonces stay used: no knock can be replayed.

Without a shield, and without a running server, there is nothing to do: at its start
the server knows the highest nonces from its record. "check" and the log name the
clients whose knocks the shield has refused.`,
		Example: "  sallyportd client resync k7Qx",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := secrets.ParseIdentifier(args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			cfg, err := loadOrLocate(path, func(text string) { env.Err().Warning(text, "") })
			if err != nil {
				return cli.Misuse(err)
			}
			var done admin.Resynced
			running, err := askServer(c.Context(), cfg, func(conn admin.Conn) (err error) {
				done, err = conn.Resync(c.Context(), admin.Resync{Client: id.String()})
				return err
			})
			result := resyncResult{Identifier: id.String(), Server: serverState(running, err), Shield: done.Shield}
			if err == nil && !running {
				err = &unreachedError{
					fmt.Sprintf("no server answers at %s, so nothing was changed", cfg.AdminSocket),
					"start the server; repeat this command if the client still does not get in", "not-running", exitNotRunning,
				}
			}
			if asJSON {
				if err != nil {
					result.Reason = err.Error()
				}
				return errors.Join(env.Out().JSON(result), err)
			}
			if err != nil {
				return err
			}
			if !done.Shield {
				return env.Out().Printf("The server has no shield now, so it refuses no nonces that are ahead: "+
					"the cause is another one, if client %s does not get in.\n", id)
			}
			return env.Out().Printf("The server accepts any unused nonce of client %s until its next knock, or until the server restarts.\n", id)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}
