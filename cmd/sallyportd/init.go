package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/internal/textfile"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/legacy"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/durable"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
)

const clientsHeader = `# The clients of sallyportd, one on each line:
#
#   IDENTIFIER SECRET NONCE [services=NAME,NAME] [old=SECRET until=TIME]
#     [expires=TIME] [note=TEXT]
#
# NONCE      the largest nonce that the client has used; 0: none
# services=  the services that the client may open; without it, all
# old=       the secret before a rotation
# until=     the time until which the old secret stays valid, such as
#            2026-12-01T00:00:00Z
# expires=   the time from which the server refuses the client
# note=      a note for the list; it takes the rest of the line
#
# "sallyportd client" adds, lists, restricts, rotates and revokes clients, and
# sets when they expire. A running server notices changes. This file contains
# secrets: only the server's user may read it.
`

// initResult is the result of "init" for programs.
type initResult struct {
	Config        string `json:"configuration"`
	PortSecret    string `json:"port_secret_file"`
	Clients       string `json:"clients"`
	StateDir      string `json:"state_dir"`
	StateKept     bool   `json:"state_kept"` // there was a record of nonces already
	Server        string `json:"server"`
	ServerGuessed bool   `json:"server_guessed"`
}

func initCommand(env cli.Env) *cobra.Command {
	var server, from string
	var asJSON bool
	c := &cobra.Command{
		Use:        "init DIR",
		SuggestFor: []string{"setup", "new", "create"},
		Short:      "Make a configuration, a port secret, an empty clients file and a state file",
		Long: `Make a configuration, a port secret, an empty clients file and a state file in
DIR.

The configuration explains every key. The port secret is random, with 256 bits.
In the state file the server records used nonces. The command never overwrites a
file.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			guessed := server == ""
			if guessed {
				var err error
				if server, err = os.Hostname(); err != nil {
					err = fmt.Errorf("find this host's name: %w", err)
					return cli.Misuse(cli.WithHint(err, "give it with --server"))
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
					text, err = textfile.Decode(from, text)
				}
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
			if from != "" {
				line, err := sourceLine(from, template)
				if err != nil {
					return cli.Misuse(fmt.Errorf("--from: %w", err))
				}
				text = line + text
			}
			if err := writeNew(dir, []legacy.File{
				{Name: config.PortSecretName, Text: secrets.Random() + "\n"},
				{Name: config.ClientsName, Text: clientsHeader},
				{Name: config.FileName, Text: text},
			}); err != nil {
				return cli.Misuse(err)
			}
			made := filepath.Join(dir, config.FileName)
			// At this moment no nonce was used. A record that is missing later may be
			// lost.
			err = state.Create(cfg.StateDir)
			kept := errors.Is(err, fs.ErrExist)
			if err != nil && !kept {
				return fmt.Errorf("make the state file: %w", err)
			}
			if asJSON {
				return env.Out().JSON(initResult{
					Config:     made,
					PortSecret: filepath.Join(dir, config.PortSecretName), Clients: filepath.Join(dir, config.ClientsName),
					StateDir: cfg.StateDir, StateKept: kept, Server: server, ServerGuessed: guessed,
				})
			}
			if kept {
				env.Err().Printf("note: %s holds a record of used nonces already; it is kept\n", cfg.StateDir)
			}
			p := initPrinter{env: env, dir: dir, made: made, from: from, server: server, guessed: guessed}
			return p.print(cfg)
		},
	}
	c.Flags().StringVar(&from, "from", "", "copy this `file` as the configuration, instead of one that explains every key")
	c.Flags().StringVar(&server, "server", "", "the host `name` or address by which clients reach this server (default this host's name)")
	cli.AddJSONFlag(c, &asJSON)
	return c
}

// initPrinter prints for people the files that were made, and the next commands.
type initPrinter struct {
	env       cli.Env
	dir, made string // the directory, and the configuration in it
	from      string // the file of which the configuration is a copy; empty: none
	server    string
	guessed   bool
}

func (p initPrinter) print(cfg *config.Config) error {
	out := p.env.Out()
	if err := out.Printf("Made in %s:\n", p.dir); err != nil {
		return err
	}
	what := "the configuration, in which every key is explained"
	if p.from != "" {
		what = "the configuration, a copy of " + p.from
	}
	err := out.Columns().Print(
		output.Row("  "+config.FileName, what),
		output.Row("  "+config.PortSecretName, "256 random bits, from which the ports are computed"),
		output.Row("  "+config.ClientsName, "the clients; none yet"),
		output.Row("  "+relative(p.dir, cfg.StateDir), "the record of used nonces"),
	)
	if err != nil {
		return err
	}
	if p.guessed {
		err := out.Printf("\nProfiles will name this host as %s. If clients reach it by another name, change \"server\" in the configuration.\n", p.server)
		if err != nil {
			return err
		}
	}
	ssh, port := sshService(cfg, p.env.Variable("SSH_CONNECTION"))
	if ssh != nil {
		advice := "Start the server for a trial first, as below: sessions\nthat are open continue, and the port is open again after ten minutes, unless \"sallyportd confirm\" comes."
		if ssh.Carries() {
			advice = "When the server starts, SSH sessions stall until their\naddress is granted. With on_exit = \"clear\", the port is open again when the server stops."
		}
		if err := out.Printf("\nService %s hides port %d, which SSH uses. %s\n", ssh.Name, port, advice); err != nil {
			return err
		}
	}
	if err := out.Printf("\nNext:\n"); err != nil {
		return err
	}
	serve := output.Row("  sallyportd serve -c " + quoted(p.made))
	if ssh != nil && !ssh.Carries() {
		serve = output.Row("  sallyportd serve --trial 10m -c "+quoted(p.made), "hide the port for ten minutes")
	}
	rows := [][]output.Cell{
		output.Row("  sallyportd client add -c "+quoted(p.made), "make a profile for each device of each colleague"),
		output.Row("  sallyportd check -c "+quoted(p.made), "print the effective settings, and warn about mistakes"),
		serve,
	}
	if cfg.FleetClients {
		rows = slices.Concat([][]output.Cell{
			output.Row("  sallyportd fleet-key new -c "+quoted(p.made), "at the first gateway; then copy the file to all others"),
			output.Row("  sallyportd client import "+quoted(filepath.Join(p.dir, config.ClientsName))+" -c "+quoted(p.made), "at the first gateway: write the fleet's list"),
		}, rows)
	}
	return out.Columns().Print(rows...)
}

// sshService returns the service that hides a port by which an administrator may
// use this host: 22, or that of the SSH connection in which this command runs
// (SSH_CONNECTION: two addresses, each with its port). It also returns the port.
// nil: there is none.
func sshService(cfg *config.Config, connection string) (*config.Service, uint16) {
	ports := []uint16{22}
	if f := strings.Fields(connection); len(f) == 4 {
		if port, err := strconv.ParseUint(f[3], 10, 16); err == nil {
			ports = append(ports, uint16(port))
		}
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		for _, port := range ports {
			if !s.UDP && !s.Binds() && access.AnyHas(s.Ports(), port) {
				return s, port
			}
		}
	}
	return nil, 0
}

// named sets "server" in the text of a configuration: the name by which clients
// reach the server.
func named(template, server, dir string) (text string, cfg *config.Config, err error) {
	line := fmt.Sprintf("server = %q", server)
	text = strings.Replace(template, "# server = \"gate.example.org\"", line, 1)
	path := filepath.Join(dir, config.FileName)
	if cfg, err = config.Parse(path, []byte(text)); err == nil && cfg.Server == "" {
		text = line + "\n" + text // another template has no such line
		cfg, err = config.Parse(path, []byte(text))
	}
	return text, cfg, err
}

// relative returns a path as a file in dir names it.
func relative(dir, path string) string {
	if r, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(r) {
		return r
	}
	return path
}

// writeNew makes files that only this user can read, and their directory if it
// does not exist: all files, or none if one exists already.
func writeNew(dir string, files []legacy.File) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return cli.WithHint(fmt.Errorf("expected a directory for the new files, got the file %s; nothing was made", dir), "choose another directory")
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if _, err := os.Lstat(path); err == nil {
			return cli.WithHint(fmt.Errorf("%s exists already; nothing was made", path),
				"choose another directory, or move the file away")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return unwritable(fmt.Errorf("make the directory: %w", err))
	}
	for i, f := range files {
		if err := durable.CreateFile(filepath.Join(dir, f.Name), []byte(f.Text), 0o600); err != nil {
			for _, made := range files[:i] {
				durable.Remove(filepath.Join(dir, made.Name))
			}
			return unwritable(fmt.Errorf("write %s: %w", f.Name, err))
		}
	}
	return nil
}

// unwritable adds a hint to the error of a new file: what prevents it.
func unwritable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return cli.WithHint(err, fmt.Sprintf("this process runs as user %d: let it write to the directory, or name another directory", os.Geteuid()))
	}
	return hint.Writing(err)
}
