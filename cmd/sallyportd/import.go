package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/legacy"
	"sallyport/sessions/state"
)

// stateName is the default of "state_dir", which the made configuration has.
const stateName = "state"

// importResult is the result of "import" for programs.
type importResult struct {
	Files    []string `json:"files"`
	Warnings []string `json:"warnings"`
}

func importCommand(env cli.Env) *cobra.Command {
	var out string
	var program legacy.Program
	var asJSON bool
	c := &cobra.Command{
		Use:   "import DIR [flags] [-- PROGRAM ARG…]",
		Short: "Convert the files of the protocol's first implementation",
		Long: `Convert the files of the protocol's first implementation.

DIR holds server.properties, service.properties and trusted_clients.txt, or
client.properties, or all of them (paper, Listings 1 to 4). The command does not
change them, and never overwrites a file. For a server it makes a state file too, as
"init" does. A client's profile gets the service of service.properties, if that file
is beside client.properties.

With use-embedded-webserver=false, the service leads to another web server. PROGRAM,
with its arguments, starts it (paper, section 6.5): the server then runs PROGRAM as the
user of --program-user, while the service has leases. PROGRAM must listen at
proxy-address, on the loopback, and proxy-port. Without PROGRAM, the service is a proxy
to a web server that runs on its own.`,
		Example: `  sallyportd import old --out gate
  sallyportd import old --program-user www-data -- /usr/bin/busybox httpd -f -p 127.0.0.1:8081 -h /srv/www`,
		Args: func(c *cobra.Command, args []string) error {
			if n := c.ArgsLenAtDash(); n >= 0 {
				program.Args = args[n:]
				args = args[:n]
			}
			switch {
			case len(args) == 0:
				return errors.New("missing argument DIR")
			case len(args) > 1:
				return fmt.Errorf("unexpected argument %q", args[1])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				out = args[0]
			}
			files, warnings, err := legacy.Read(args[0], out, program)
			if err != nil {
				for _, text := range warnings {
					if !asJSON {
						env.Err().Warning(text, "")
					}
				}
				return cli.Misuse(err)
			}
			isServer := slices.ContainsFunc(files, func(f legacy.File) bool { return f.Name == config.FileName })
			if info, err := os.Stat(filepath.Join(out, stateName)); isServer && err == nil && !info.IsDir() {
				return cli.Misuse(cli.WithHint(fmt.Errorf("%s: expected a directory for the record of used nonces, got a file; nothing was made",
					filepath.Join(out, stateName)), "choose another directory, or move the file away"))
			}
			if err := writeNew(out, files); err != nil {
				return cli.Misuse(err)
			}
			// As after "init": no nonce was used at this moment.
			made := filepath.Join(out, config.FileName)
			if isServer {
				cfg, err := config.Load(made, config.Alone)
				if err == nil {
					err = state.Create(cfg.StateDir)
				}
				if err != nil && !errors.Is(err, fs.ErrExist) {
					return fmt.Errorf("make the state file: %w", err)
				}
			}
			result := importResult{Files: []string{}, Warnings: orEmpty(warnings)}
			for _, f := range files {
				result.Files = append(result.Files, filepath.Join(out, f.Name))
			}
			if asJSON {
				return env.Out().JSON(result)
			}
			for _, path := range result.Files {
				if err := env.Out().Printf("made %s\n", path); err != nil {
					return err
				}
			}
			for _, text := range result.Warnings {
				if err := env.Out().Warning(text, ""); err != nil {
					return err
				}
			}
			if !isServer {
				return env.Out().Printf("\nNext:\n  sallyport profile add %s NAME\n", quoted(result.Files[0]))
			}
			return env.Out().Printf("\nNext:\n  sallyportd check -c %[1]s\n  sallyportd serve -c %[1]s\n", quoted(made))
		},
	}
	c.Flags().StringVar(&out, "out", "", "the `directory` for the new files (default DIR)")
	c.Flags().StringVar(&program.User, "program-user", "", "the `user` as whom the server runs PROGRAM")
	cli.AddJSONFlag(c, &asJSON)
	return c
}
