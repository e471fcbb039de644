package main

import (
	"errors"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
)

// listedProfile is a profile in profile list --json.
type listedProfile struct {
	Name      string `json:"name"`
	Server    string `json:"server"`              // of several gateways: all, with commas
	Client    string `json:"client,omitempty"`    // the identifier
	Operation string `json:"operation,omitempty"` // the ID, if the profile has only [challenge]
	Service   string `json:"service,omitempty"`
	Locked    bool   `json:"locked,omitempty"`    // by a passphrase: the other fields are empty
	NoSecret  bool   `json:"no_secret,omitempty"` // a program that had it was removed: the profile cannot knock
}

func listed(name string, p client.Profile) listedProfile {
	p.Server = serverText(p)
	if p.HasSequence() {
		return listedProfile{Name: name, Server: p.Server, Client: p.Identifier.String(), Service: p.Service}
	}
	c := p.Challenge
	return listedProfile{Name: name, Server: p.Server, Operation: c.Operation.ID(), Service: c.Service}
}

// serverText returns the server of a profile, or those of its gateways.
func serverText(p client.Profile) string {
	if len(p.Gateways) == 0 {
		return p.Server
	}
	return joined(p.Gateways, func(g client.Gateway) string { return g.Server })
}

// list returns a profile, without a passphrase.
func list(c *cobra.Command, env cli.Env, name string) (listedProfile, error) {
	if _, locked, err := profile.IsLocked(name); err != nil || locked {
		return listedProfile{Name: name, Locked: true}, err
	}
	p, stored, err := profiles(c, env).LoadStored(c.Context(), name)
	if err != nil {
		return listedProfile{}, err
	}
	l := listed(name, p)
	l.NoSecret = stored.LacksSecret()
	return l, nil
}

func profileListCommand(env cli.Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the profiles, without secrets",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			names, err := profile.Names()
			if err != nil {
				return err
			}
			out := env.Out()
			rows := [][]output.Cell{output.Header("PROFILE", "SERVER", "CLIENT", "SERVICE")}
			var errs []error
			for _, name := range names {
				l, err := list(c, env, name)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				if !asJSON && l.Locked {
					rows = append(rows, output.Row(l.Name, "(locked)", "", ""))
				} else if !asJSON && l.NoSecret {
					rows = append(rows, output.Row(l.Name, l.Server, l.Client+l.Operation+" (no secret)", l.Service))
				} else if !asJSON {
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

// shownProfile is a profile in profile show --json.
type shownProfile struct {
	profilefile.File
	Programs *profile.Programs `json:"programs,omitempty"` // of this device
}

func profileShowCommand(env cli.Env) *cobra.Command {
	var secrets, asJSON bool
	c := &cobra.Command{
		Use:   "show PROFILE",
		Short: "Print a profile, with its secrets only on request",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if path, locked, err := profile.IsLocked(args[0]); err == nil && locked && !secrets {
				return showLocked(env, path, asJSON)
			}
			s, err := profiles(c, env).Read(c.Context(), args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			if secrets {
				env.ProtectStdout()
			}
			f := s.Content
			switch {
			case asJSON && secrets:
				return env.Out().JSON(shownProfile{f, s.Programs.Listed()})
			case asJSON:
				return env.Out().JSON(shownProfile{f.ReplaceSecrets(""), s.Programs.Listed()})
			case !secrets:
				f = f.ReplaceSecrets(hidden)
			}
			text, err := f.TOML()
			if err != nil {
				return err
			}
			for _, line := range programLines(s.Programs) {
				text = append(text, "# "+line+"\n"...)
			}
			_, err = env.Stdout.Write(text)
			return err
		},
	}
	c.Flags().BoolVar(&secrets, "secrets", false, "print the secrets too")
	cli.AddJSONFlag(c, &asJSON)
	return c
}
