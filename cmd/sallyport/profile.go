package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/internal/terminal"
	"sallyport/sessions/durable"
)

func profileCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{
		Use:   "profile",
		Short: "Add, list, show and remove profiles",
		Long: `Add, list, show and remove profiles.

A profile is for one device: a second device needs a client of its own, from
the server's administrator.`,
	})
	group.AddCommand(profileAddCommand(env), profileListCommand(env), profileShowCommand(env), profileRemoveCommand(env))
	return group
}

func profileAddCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "add FILE|- [NAME]",
		Short: "Keep a profile under a name, for this user only",
		Long: `Keep a profile under a name, for this user only.

The profile is read from a file, or from standard input, and checked. Without
a NAME it is called after its file, or after the server. One that is there
already is never overwritten.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			data, err := readProfile(env, args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			p, err := profile.Parse(args[0], data)
			if err != nil {
				return cli.Misuse(err)
			}
			name := strings.TrimSuffix(filepath.Base(args[0]), ".toml")
			switch {
			case len(args) == 2:
				name = args[1]
			case args[0] == "-":
				name = p.Server
			}
			path, err := profile.Add(name, data)
			if err != nil {
				return cli.Misuse(err)
			}
			_, err = fmt.Fprintf(env.Stdout, "added %s as %s\nIt is for this device alone. Try: sallyport knock %s\n", terminal.Text(path), name, name)
			if err == nil && args[0] != "-" {
				fmt.Fprintf(env.Stderr, "hint: %s holds the same secrets, and is no longer needed\n", terminal.Text(args[0]))
			}
			return err
		},
	}
}

// maxProfile bounds what is read as a profile.
const maxProfile = 64 << 10

func readProfile(env cli.Env, name string) ([]byte, error) {
	in := env.Stdin
	if name != "-" {
		f, err := durable.Open(name)
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
		return nil, fmt.Errorf("%s: expected a profile of up to %d bytes", name, maxProfile)
	}
	return data, nil
}

func profileListCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the profiles, without secrets",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			names, err := profile.Names()
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "PROFILE\tSERVER\tCLIENT\tSERVICE")
			var broken []error
			for _, name := range names {
				p, err := profile.Load(name)
				if err != nil {
					broken = append(broken, err)
					continue
				}
				who, service := p.Identifier.String(), p.Service
				if !p.HasSequence() {
					who, service = p.Challenge.Operation.ID(), p.Challenge.Service
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", terminal.Text(name), terminal.Text(p.Server), terminal.Text(who), terminal.Text(service))
			}
			return errors.Join(append(broken, w.Flush())...)
		},
	}
}

func profileShowCommand(env cli.Env) *cobra.Command {
	var secrets bool
	c := &cobra.Command{
		Use:   "show PROFILE",
		Short: "Print a profile, its secrets only if asked for",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := profile.Text(args[0], secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			_, err = env.Stdout.Write(text)
			return err
		},
	}
	c.Flags().BoolVar(&secrets, "secrets", false, "print the secrets too")
	return c
}

func profileRemoveCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a profile; its nonces are kept",
		Long: `Remove a profile.

Its nonces are kept: if it is added again, it goes on where it was. Whoever
has a copy of it still gets in, until the administrator revokes the client.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := profile.Remove(args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			_, err = fmt.Fprintf(env.Stdout, "removed %s\n", terminal.Text(path))
			return err
		},
	}
}
