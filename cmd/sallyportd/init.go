package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/legacy"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/durable"
	"sallyport/sessions/state"
)

const clientsHeader = `# The clients of sallyportd, one a line: identifier, secret, largest nonce
# already used (0: none). Then, if wanted: services=NAME,NAME, which it may open
# (without it, all); old=SECRET until=TIME, the secret before a rotation; and
# note=TEXT, the rest of the line.
# "sallyportd client" adds, lists, rotates and revokes them; a running server
# notices. Secrets: nobody else may read this file.
`

func initCommand(env cli.Env) *cobra.Command {
	var server, from string
	c := &cobra.Command{
		Use:   "init DIR",
		Short: "Make a configuration, a port secret, an empty clients file and a state file",
		Long: `Make a configuration, a port secret, an empty clients file and a state file in
DIR.

The configuration is what "serve" takes, with every key explained. The secret
is random, 256 bits. The state file is where the server records which nonces
were used. Files that are there already are never overwritten.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			guessed := server == ""
			if guessed {
				var err error
				if server, err = os.Hostname(); err != nil {
					return cli.Misuse(cli.WithHint(fmt.Errorf("find this host's name: %w", err), "say it with --server"))
				}
			}
			if !profile.ValidServer(server) {
				return cli.Misuse(fmt.Errorf("--server: expected a host name or address without a port, got %q", server))
			}
			dir := args[0]
			template := config.Reference
			if from != "" {
				text, err := durable.ReadFile(from)
				if err == nil {
					_, err = config.Parse(from, text)
				}
				if err != nil {
					return cli.Misuse(fmt.Errorf("--from: %w", err))
				}
				template = string(text)
			}
			text, cfg, err := named(template, server, dir)
			if err != nil {
				return cli.Misuse(err)
			}
			if err := writeNew(dir, []legacy.File{
				{Name: config.PortSecretName, Text: secrets.Random() + "\n"},
				{Name: config.ClientsName, Text: clientsHeader},
				{Name: config.FileName, Text: text},
			}); err != nil {
				return cli.Misuse(err)
			}
			made := filepath.Join(dir, config.FileName)
			// Now it is known that no nonce was used; later a missing record
			// may be a lost one.
			if err := state.Create(cfg.StateDir); errors.Is(err, fs.ErrExist) {
				fmt.Fprintf(env.Stderr, "note: the record of used nonces in %s is kept\n", cfg.StateDir)
			} else if err != nil {
				return fmt.Errorf("make the state file: %w", err)
			}
			fmt.Fprintf(env.Stdout, `Made in %s:
  %-16s what to hide and how; every key is explained
  %-16s 256 random bits, from which the ports are drawn
  %-16s nobody yet
  %-16s where it is recorded which nonces were used
`, dir, config.FileName, config.PortSecretName, config.ClientsName, relative(dir, cfg.StateDir))
			if guessed {
				fmt.Fprintf(env.Stdout, "\nClients will reach this host as %s. If not, change \"server\" in the configuration.\n", server)
			}
			fmt.Fprintf(env.Stdout, `
Next:
  sallyportd client add -c %[1]s     a profile for each device of each colleague
  sallyportd check -c %[1]s          what would run, and what bites
  sallyportd serve -c %[1]s
`, made)
			return nil
		},
	}
	c.Flags().StringVar(&from, "from", "", "take this `file` for the configuration, instead of one that explains every key")
	c.Flags().StringVar(&server, "server", "", "the host `name` or address by which clients reach this server (default this host's name)")
	return c
}

// named gives a configuration the name by which clients reach the server.
func named(template, server, dir string) (text string, cfg *config.Config, err error) {
	line := fmt.Sprintf("server = %q", server)
	text = strings.Replace(template, "# server = \"gate.example.org\"", line, 1)
	path := filepath.Join(dir, config.FileName)
	if cfg, err = config.Parse(path, []byte(text)); err == nil && cfg.Server == "" {
		text = line + "\n" + text // a file of the user's own has no such place
		cfg, err = config.Parse(path, []byte(text))
	}
	return text, cfg, err
}

// relative is a path as a file in dir names it.
func relative(dir, path string) string {
	if r, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(r) {
		return r
	}
	return path
}

// writeNew makes a directory, if need be, and files in it for this user only:
// all of them, or none if one is there already.
func writeNew(dir string, files []legacy.File) error {
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if _, err := os.Lstat(path); err == nil {
			return cli.WithHint(fmt.Errorf("%s is there already, and is not overwritten; nothing was made", path), "choose another directory, or move the file away")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	for i, f := range files {
		if err := durable.CreateFile(filepath.Join(dir, f.Name), []byte(f.Text), 0o600); err != nil {
			for _, made := range files[:i] {
				durable.Remove(filepath.Join(dir, made.Name))
			}
			return fmt.Errorf("write %s: %w", f.Name, err)
		}
	}
	return nil
}
