package main

import (
	"log/slog"

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
			log, _, stop := openLog(env, "", slog.LevelInfo)
			defer stop()
			return privilege.RunPrograms(env.Clock, log)
		},
	}
}
