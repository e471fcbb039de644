package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/internal/textfile"
	"sallyport/sessions/client"
	"sallyport/sessions/durable"
)

func profileCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{
		Use:   "profile",
		Short: "Add, replace, list, show, change, lock and remove profiles",
		Long: `Add, replace, list, show, change, lock and remove profiles.

A profile is for one device. For a second device, ask the server's administrator
for another client.`,
	})
	group.AddCommand(
		profileAddCommand(env), profileReplaceCommand(env), profileListCommand(env), profileShowCommand(env), profileSetCommand(env),
		profileLockCommand(env), profileUnlockCommand(env), profileRemoveCommand(env),
	)
	return group
}

// storedProfile is the result of profile add and profile remove with --json.
type storedProfile struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// SameClient has the other profiles of this client of the server.
	SameClient []string `json:"same_client,omitempty"`
}

func profileAddCommand(env cli.Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "add FILE|- [NAME]",
		Short: "Store a profile under a name, for this user only",
		Long: `Store a profile under a name, for this user only.

The command reads the profile from a file, or from standard input, and checks it.
The default of NAME is the name of the file, or the server of the profile. The
command never overwrites a profile. It warns if another profile is of the same client.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			data, err := readProfile(env, args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			p, err := profile.Parse(sourceName(args[0]), data)
			if err != nil {
				return cli.Misuse(err)
			}
			name := strings.TrimSuffix(filepath.Base(args[0]), ".toml")
			switch {
			case len(args) == 2:
				name = args[1]
			case args[0] == "-":
				if name = p.Server; len(p.Gateways) > 0 {
					name = p.Gateways[0].Server
				}
			}
			path, err := profile.Add(name, data)
			if err != nil {
				return cli.Misuse(err)
			}
			same := profile.OfSameClient(name, p)
			if asJSON {
				return env.Out().JSON(storedProfile{name, path, same})
			}
			command := "knock"
			if (&knockOptions{}).bind(p) == client.BindConnection {
				command = "connect" // after a knock alone, no program can connect
			}
			what := "" // an operation may be one of several devices
			if p.HasSequence() {
				what = "This profile is for this device only. "
			}
			err = env.Out().Printf("added %s as %s\n%sTry: sallyport %s %s\n", path, name, what, command, name)
			if c := p.Challenge; err == nil && c != nil && c.Agent {
				err = env.Err().Labelled(output.Cell{Text: "hint", Colour: output.Cyan},
					"the SSH agent must have one of public_keys (ssh-add -l); for a key in a file, set key = \"~/.ssh/id_ed25519\" in place of agent in "+path)
			}
			if err == nil && args[0] != "-" && profile.HasSecrets(data) {
				err = env.Err().Labelled(output.Cell{Text: "hint", Colour: output.Cyan},
					args[0]+" contains the same secrets, and is no longer needed")
			}
			if err == nil && len(same) > 0 {
				err = env.Err().Warning(
					fmt.Sprintf("%s and %s are profiles of the same client: one profile is for one device", name, strings.Join(same, ", ")),
					"keep one of them (sallyport profile remove NAME), and ask for another client for another device")
			}
			return err
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	return c
}

// maxProfile is the maximum size of a profile, in bytes.
const maxProfile = 64 << 10

func readProfile(env cli.Env, name string) ([]byte, error) {
	in := env.Stdin
	if name != "-" {
		f, err := durable.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			err = cli.WithHint(err, "give the path of the file from the server's administrator, or - for standard input")
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxProfile+1))
	if err != nil {
		return nil, fmt.Errorf("read the profile: %w", err)
	}
	if len(data) > maxProfile {
		return nil, fmt.Errorf("%s: expected a profile of at most %d bytes, got more", name, maxProfile)
	}
	return textfile.Decode(sourceName(name), data)
}

// sourceName returns the name of a profile's source in errors.
func sourceName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

func profileRemoveCommand(env cli.Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:        "remove NAME",
		SuggestFor: []string{"delete", "rm", "revoke"},
		Short:      "Remove a profile, and keep its nonces",
		Long: `Remove a profile.

The nonces stay: if you add the profile again, the client continues with the next
nonce. A copy of the profile still works, until the server's administrator revokes
the client.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := profile.Remove(args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			if asJSON {
				return env.Out().JSON(storedProfile{Name: args[0], Path: path})
			}
			return env.Out().Printf("removed %s\n", path)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	return c
}
