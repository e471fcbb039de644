// Command sallyport is the client: it knocks at a server, and reports whether the
// hidden service opened.
package main

import (
	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

func main() { cli.Main(command) }

func command(env cli.Env) *cobra.Command {
	root := cli.Group(&cobra.Command{
		Use:   "sallyport",
		Short: "Open a hidden service by knocking",
		Long: `Open a hidden service by knocking.

A profile is a TOML file from the server's administrator. Commands take the path
of a profile, or its name if the profile is in your config directory, as
sallyport/NAME.toml. The variables XDG_CONFIG_HOME and XDG_STATE_HOME name other
directories for the profiles and for the used nonces.

Exit codes: 0 done; 1 the service did not open; 2 wrong usage, profile, nonce
file or private key, nothing was sent; 130 interrupted.`,
	})
	root.PersistentFlags().String(passphraseFlag, "", "read the passphrase of a locked profile, and then that of a private key, a line each, from descriptor `N`, instead of the terminal")
	root.AddCommand(knockCommand(env), runCommand(env), stayCommand(env), connectCommand(env), forwardCommand(env), closeCommand(env), profileCommand(env), portsCommand(env))
	return root
}
