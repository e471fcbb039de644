package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions/fleet/roster"
)

// acceptedList is the result of "client accept" for programs.
type acceptedList struct {
	Version uint64 `json:"version,omitempty"` // that the server has applied
	Clients int    `json:"clients"`
	Server  string `json:"server"` // as of clientResult
	Reason  string `json:"reason,omitempty"`
}

func clientAcceptCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "accept",
		Short: "Let this gateway accept a list of the fleet that it refuses as an older one",
		Long: `Let this gateway accept the fleet's list that etcd has, although it does not follow
the one that the gateway has applied. It requires clients = "fleet".

A gateway refuses a list that went back, since clients that were revoked may be in it
again. Accept it if you know why it went back: etcd was restored from a backup, and
the list has the clients that you expect (client list, at a gateway that accepts it).
Without such a reason, an attacker writes to etcd. To write the list again for all
gateways at once, use "client import --replace".

A list that was altered, or that is sealed with another key, is not accepted. If no
server runs, its next start accepts the list.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := loadEtcdList(env, path)
			if err != nil {
				return err
			}
			var done acceptedList
			running, err := askServer(c.Context(), f.cfg, func(conn admin.Conn) error {
				status, err := conn.AcceptList(c.Context())
				done.Version, done.Clients = status.Version, status.Clients
				return applied(status, err)
			})
			if err == nil && !running {
				if err = roster.Forget(f.cfg.StateDir); err != nil {
					err = fmt.Errorf("forget the list that was applied last: %w", err)
				}
			}
			if asJSON {
				if done.Server = serverState(running, err); err != nil {
					done.Reason = err.Error()
				}
				return errors.Join(env.Out().JSON(done), err)
			}
			switch {
			case err != nil:
				return err
			case !running:
				return env.Out().Printf("No server answers at %s: its next start accepts the list that etcd has then.\n", f.cfg.AdminSocket)
			}
			return env.Out().Printf("The running server has applied version %d of the fleet's list, with %s.\n", done.Version, countClients(done.Clients))
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}
