package main

import (
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

func leaseCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "lease", Short: "List the leases in force, and close some of them"})
	group.AddCommand(leaseListCommand(env), leaseCloseCommand(env))
	return group
}

// leasesCommand is "lease list" under a short name.
func leasesCommand(env cli.Env) *cobra.Command {
	c := leaseListCommand(env)
	c.Use, c.SuggestFor = "leases", nil
	c.Long = "The same as \"sallyportd lease list\".\n\n" + c.Long
	return c
}

// closeCommand is "lease close" under a short name.
func closeCommand(env cli.Env) *cobra.Command {
	c := leaseCloseCommand(env)
	c.SuggestFor = nil
	c.Long = "The same as \"sallyportd lease close\".\n\n" + c.Long
	c.Example = strings.ReplaceAll(c.Example, "sallyportd lease close", "sallyportd close")
	return c
}
