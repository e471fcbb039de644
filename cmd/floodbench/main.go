// Command floodbench floods the shipped server, in networks that it creates, and
// measures how many honest knocks succeed during the flood.
package main

import (
	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

func main() { cli.Main(command) }

func command(env cli.Env) *cobra.Command {
	root := cli.Group(&cobra.Command{
		Use:   "floodbench",
		Short: "Load-test the server",
		Long: `Load-test the server.

It floods only networks that it creates itself, for a limited time. No command
accepts a target.`,
	})
	root.AddCommand(commands(env)...)
	return root
}
