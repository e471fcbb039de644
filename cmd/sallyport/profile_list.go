package main

import (
	"errors"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

// listedProfile is a profile in profile list --json.
type listedProfile struct {
	Name      string `json:"name"`
	Server    string `json:"server"`
	Client    string `json:"client,omitempty"`    // the identifier
	Operation string `json:"operation,omitempty"` // the ID, if the profile has only [challenge]
	Service   string `json:"service,omitempty"`
}

func listed(name string, p client.Profile) listedProfile {
	if p.HasSequence() {
		return listedProfile{Name: name, Server: p.Server, Client: p.Identifier.String(), Service: p.Service}
	}
	c := p.Challenge
	return listedProfile{Name: name, Server: p.Server, Operation: c.Operation.ID(), Service: c.Service}
}

func profileListCommand(env cli.Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the profiles, without secrets",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			names, err := profile.Names()
			if err != nil {
				return err
			}
			out := env.Out()
			rows := [][]output.Cell{output.Header("PROFILE", "SERVER", "CLIENT", "SERVICE")}
			var errs []error
			for _, name := range names {
				p, err := profile.Load(name)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				l := listed(name, p)
				if !asJSON {
					rows = append(rows, output.Row(l.Name, l.Server, l.Client+l.Operation, l.Service))
				} else if err := out.JSON(l); err != nil {
					return err
				}
			}
			if !asJSON {
				errs = append(errs, out.Columns().Print(rows...))
			}
			return errors.Join(errs...)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	return c
}

// hidden replaces a secret in the output.
const hidden = "(hidden: --secrets shows it)"

func profileShowCommand(env cli.Env) *cobra.Command {
	var secrets, asJSON bool
	c := &cobra.Command{
		Use:   "show PROFILE",
		Short: "Print a profile, with its secrets only on request",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := profile.Read(args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			if secrets {
				env.ProtectStdout()
			}
			switch {
			case asJSON && secrets:
				return env.Out().JSON(f)
			case asJSON:
				return env.Out().JSON(f.ReplaceSecrets(""))
			case !secrets:
				f = f.ReplaceSecrets(hidden)
			}
			text, err := f.TOML()
			if err != nil {
				return err
			}
			_, err = env.Stdout.Write(text)
			return err
		},
	}
	c.Flags().BoolVar(&secrets, "secrets", false, "print the secrets too")
	cli.AddJSONFlag(c, &asJSON)
	return c
}
