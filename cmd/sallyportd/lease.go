package main

import (
	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

func leaseCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "lease", Short: "List the leases in force, and close some of them"})
	group.AddCommand(leaseListCommand(env), leaseCloseCommand(env))
	return group
}
