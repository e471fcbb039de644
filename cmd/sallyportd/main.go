// Command sallyportd is the server: it hides services until a client has
// knocked correctly.
package main

import (
	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

func main() { cli.Main(command) }

func command(env cli.Env) *cobra.Command {
	root := cli.Group(&cobra.Command{
		Use:   "sallyportd",
		Short: "Hide services until clients have knocked",
		Long: `Hide services until clients have knocked.

Exit codes: 0 done; 1 failed; 2 wrong usage or configuration, nothing was
done; 130 stopped at once by a second signal.`,
	})
	root.AddCommand(watchCommand(env), initCommand(env), importCommand(env), checkCommand(env), clientCommand(env), operationCommand(env), portSecretCommand(env),
		stateCommand(env), serveCommand(env), firewallCommand(env), holderCommand(env), reloadCommand(env), demoCommand(env))
	return root
}
