package main

import (
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

func confirmCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "confirm",
		Short: "End a trial: its services stay closed",
		Long: `End a trial: its services stay closed.

"serve --trial 5m" hides services for five minutes only. This command hides them for
good. The server refuses it until it has seen a connection to a service on trial that
got in by a knock since the trial began, and that has not ended for long. It does not
believe this command, or its environment, about that.

From then on, connections that no lease let in end, such as your session from before
the trial.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			var done admin.Confirmation
			err = needServer(c.Context(), cfg, func(conn admin.Conn) (err error) {
				done, err = conn.Confirm(c.Context())
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return env.Out().JSON(done)
			}
			err = env.Out().Printf("confirmed: %s; closed for good, except to clients that knock\n", strings.Join(done.Confirmed, ", "))
			if err != nil || len(done.Open) == 0 {
				return err
			}
			return env.Err().Warning("the trial of other services is over; they are open to anyone: "+strings.Join(done.Open, ", "),
				"\"sallyportd reload --trial TIME\" begins another trial, and --trial 0 hides them for good")
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}
