package main

import (
	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/privilege"
)

const runnerName = "program-helper"

// runnerCommand is the process that starts programs for "serve", which starts it. It
// reads no configuration.
func runnerCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    runnerName,
		Short:  "Start programs for a server; the server starts this command itself",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			log := openLog(env, logSettings{flush: helperFlushTime})
			defer log.stop()
			return privilege.RunPrograms(env.Clock, log.Logger)
		},
	}
}
