// Command floodbench floods the shipped server, in networks of its own, and
// tells what becomes of honest knocks meanwhile.
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

It floods only networks that it makes itself, for the time that it says; there
is no way to give it a target.`,
	})
	root.AddCommand(commands(env)...)
	return root
}
