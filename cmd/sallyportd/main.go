// Command sallyportd is the server: it hides services, and opens them for clients
// that have knocked correctly.
//
//	serve                       the server
//	check, status, health,      what an administrator does with a running server
//	watch, trace, lease, diag,
//	leases, close, reload
//	confirm                     the end of a trial
//	init, import                make a configuration
//	client, fleet-key,          change clients, secrets and the record of nonces
//	operation, port-secret,
//	state
//	firewall                    the holder of the firewall's table
//	demo                        server and client in one process
//
// Each command has a file. It reads the configuration (load.go), calls
// packages below internal, and prints the result: for people in words, or with
// --json an object for programs. findings.go has the warnings of "check".
package main

import (
	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/gate/runner"
)

func main() {
	runner.Helper()
	cli.Main(command)
}

func command(env cli.Env) *cobra.Command {
	root := cli.Group(&cobra.Command{
		Use:   "sallyportd",
		Short: "Hide services until clients have knocked",
		Long: `Hide services until clients have knocked.

Most commands have the flag --json: they print JSON on standard output, for
programs, and an error as {"error":…, "hint":…, "exit_code":…}. If a command has
changed a file, but the running server refuses the change, it prints the result,
and then the error. For people, times are in the local time zone, and a terminal
shows colours unless NO_COLOR is set.

Exit codes: 0 done; 1 failed; 2 wrong usage or configuration, and nothing was
changed; 130 interrupted. "status" has more.`,
	})
	root.AddCommand(
		serveCommand(env), checkCommand(env), statusCommand(env), healthCommand(env), watchCommand(env), traceCommand(env), reloadCommand(env), confirmCommand(env), diagCommand(env),
		initCommand(env), importCommand(env),
		clientCommand(env), fleetKeyCommand(env), operationCommand(env), portSecretCommand(env), hostKeyCommand(env), stateCommand(env), leaseCommand(env), leasesCommand(env), closeCommand(env),
		firewallCommand(env), holderCommand(env), capturerCommand(env), runnerCommand(env), demoCommand(env),
	)
	return root
}
