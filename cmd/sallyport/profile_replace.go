package main

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

// replacedProfile is the result of profile replace with --json.
type replacedProfile struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	NewSecret bool   `json:"new_secret"`
}

func profileReplaceCommand(env cli.Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "replace NAME [FILE|-]",
		Short: "Replace a stored profile by a new one of the same client",
		Long: `Replace a stored profile by a new one of the same client.

The administrator gives out a new profile after a change of the server's settings
or of a secret. The command reads it from a file, or from standard input, and checks
it. The record of used nonces stays.`,
		Example: "  sallyport profile replace work work-new.toml",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			name, from := args[0], "-"
			if len(args) == 2 {
				from = args[1]
			}
			before, err := profile.Load(name)
			if err != nil {
				return cli.Misuse(err)
			}
			data, err := readProfile(env, from)
			if err != nil {
				return cli.Misuse(err)
			}
			next, err := profile.Parse(from, data)
			if err != nil {
				return cli.Misuse(err)
			}
			if err := sameClient(name, before, next); err != nil {
				return cli.Misuse(err)
			}
			path, err := profile.Replace(name, data)
			if err != nil {
				return err
			}
			result := replacedProfile{name, path, !bytes.Equal(before.Secret, next.Secret)}
			if asJSON {
				return env.Out().JSON(result)
			}
			what := "the secret is the same"
			if result.NewSecret {
				what = "it has a new secret"
			}
			err = env.Out().Printf("replaced %s; %s\n", path, what)
			if err == nil && from != "-" {
				err = env.Err().Labelled(output.Cell{Text: "hint", Colour: output.Cyan},
					from+" contains the same secrets, and is no longer needed")
			}
			return err
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	return c
}

// sameClient returns an error unless a new profile can take the place of another one.
func sameClient(name string, before, next client.Profile) error {
	switch {
	case before.HasSequence() && next.HasSequence() && before.Identifier != next.Identifier:
		return cli.WithHint(fmt.Errorf("profile %q is of client %s, and the new one of client %s", name, before.Identifier, next.Identifier),
			"for another client, choose another name: sallyport profile add FILE NAME")
	case before.HasSequence() && !next.HasSequence(), before.Challenge != nil && next.Challenge == nil:
		return cli.WithHint(fmt.Errorf("profile %q has two protocols, or another one than the new profile, which lacks it", name),
			"copy the missing keys or [challenge] tables of the stored profile to the new one first")
	}
	return nil
}
