package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
)

// replacedProfile is the result of profile replace with --json.
type replacedProfile struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	NewSecret bool   `json:"new_secret"`
	// NewHostKey: the operation had public keys before, and its host key is another one.
	NewHostKey bool `json:"new_host_key,omitempty"`
	// Lost are keys of this device that the earlier profile had: an administrator does
	// not write them.
	Lost []string `json:"lost_keys,omitempty"`
}

func profileReplaceCommand(env cli.Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "replace NAME [FILE|-]",
		Short: "Replace a stored profile by a new one of the same client or operation",
		Long: `Replace a stored profile by a new one of the same client or operation.

The administrator gives out a new profile after a change of the server's settings
or of a secret. The command reads it from a file, or from standard input, and checks
it. The record of used nonces stays. If the earlier profile had a key of this device,
such as watch, that the new one lacks, the command prints a warning.`,
		Example: "  sallyport profile replace work work-new.toml",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			name, from := args[0], "-"
			if len(args) == 2 {
				from = args[1]
			}
			reader := profiles(c, env)
			before, stored, err := reader.LoadStored(c.Context(), name)
			if err != nil {
				return cli.Misuse(err)
			}
			data, err := readProfile(env, from)
			if err != nil {
				return cli.Misuse(err)
			}
			next, err := profile.Parse(sourceName(from), data)
			if err != nil {
				return cli.Misuse(err)
			}
			if err := sameClient(name, before, next); err != nil {
				return cli.Misuse(err)
			}
			replaced, err := reader.Replace(c.Context(), name, data)
			if err != nil {
				return cli.Misuse(err)
			}
			path, now := replaced.Path, replaced.Content
			result := replacedProfile{Name: name, Path: path, NewSecret: newSecret(stored.Content, now), NewHostKey: newHostKey(stored.Content, now), Lost: lostKeys(stored.Content, now)}
			if asJSON {
				return env.Out().JSON(result)
			}
			program := !replaced.LacksSecret() && next.HasSequence() && now.Secret == ""
			err = env.Out().Printf("replaced %s; %s\n", path, replacedText(result, stored.Content, now, program))
			if err == nil && from != "-" && profile.HasSecrets(data) {
				err = env.Err().Labelled(output.Cell{Text: "hint", Colour: output.Cyan},
					from+" contains the same secrets, and is no longer needed")
			}
			if err == nil && len(result.Lost) > 0 {
				err = env.Err().Warning("the earlier profile had keys that the new one lacks: "+strings.Join(result.Lost, ", "),
					"if you still need them, write them into "+path+": key into [challenge] in place of agent, the others before the first [table]")
			}
			return err
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	return c
}

// replacedText returns what is new. Program: one holds the secret of the client.
func replacedText(r replacedProfile, before, now profilefile.File, program bool) string {
	signed := func(f profilefile.File) bool { return f.Challenge != nil && f.Challenge.Signed() }
	switch {
	case r.NewHostKey:
		return "it has a new host key: the server, or its key, is another one"
	case signed(now) && now.PortSecret == "" && !signed(before):
		return "the operation has public keys in place of a secret"
	case signed(now) && now.PortSecret == "":
		return "the host key of the server is the same"
	case r.NewSecret:
		return "it has a new secret"
	case program:
		return "a program holds the secret of the client"
	case now.PortSecret == "":
		return "the secret of the operation is the same"
	}
	return "the secret of the client is the same"
}

// newHostKey reports whether the host key of an operation with public keys has changed.
func newHostKey(before, now profilefile.File) bool {
	both := before.Challenge != nil && now.Challenge != nil
	return both && before.Challenge.Signed() && now.Challenge.Signed() && before.Challenge.HostKey != now.Challenge.HostKey
}

// newSecret reports whether the secret of the client, or of the operation, has changed.
func newSecret(before, now profilefile.File) bool {
	both := before.Challenge != nil && now.Challenge != nil
	return before.Secret != now.Secret || both && !now.Challenge.Signed() && before.Challenge.Secret != now.Challenge.Secret
}

// lostKeys returns the keys of the device, as they were, that the new profile lacks.
func lostKeys(before, now profilefile.File) (lost []string) {
	if before.Watch != "" && now.Watch == "" {
		lost = append(lost, fmt.Sprintf("watch = %q", before.Watch))
	}
	if b, n := before.Challenge, now.Challenge; b != nil && b.Key != "" && n != nil && n.Signed() && n.Key == "" {
		lost = append(lost, fmt.Sprintf("key = %q", b.Key))
	}
	if before.SecretFiles != "" && now.SecretFiles == "" {
		lost = append(lost, fmt.Sprintf("secret_files = %q", before.SecretFiles))
	}
	return lost
}

// sameClient returns an error unless a new profile can take the place of another one.
func sameClient(name string, before, next client.Profile) error {
	switch {
	case before.HasSequence() && next.HasSequence() && before.Identifier != next.Identifier:
		return cli.WithHint(fmt.Errorf("profile %q is of client %s, and the new one of client %s", name, before.Identifier, next.Identifier),
			"for another client, choose another name: sallyport profile add FILE NAME")
	case before.HasSequence() && !next.HasSequence():
		return cli.WithHint(fmt.Errorf("profile %q is of client %s, and the new profile has only [challenge]", name, before.Identifier),
			"for an operation alone, choose another name: sallyport profile add FILE NAME; for a profile with both protocols, add the client's keys to the new file")
	case !next.HasSequence() && before.Challenge.Operation.ID() != next.Challenge.Operation.ID():
		return cli.WithHint(fmt.Errorf("profile %q is of operation %s, and the new one of operation %s", name, before.Challenge.Operation.ID(), next.Challenge.Operation.ID()),
			"for another operation, choose another name: sallyport profile add FILE NAME")
	case before.Challenge != nil && next.Challenge == nil:
		return cli.WithHint(fmt.Errorf("profile %q has [challenge], and the new profile lacks it", name),
			"add the [challenge] tables of the stored profile to the new file: sallyport profile show "+name+" --secrets")
	}
	return nil
}
