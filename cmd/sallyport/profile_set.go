package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
)

// setProfile is the result of profile set with --json.
type setProfile struct {
	Name     string           `json:"name"`
	Path     string           `json:"path"`
	Programs profile.Programs `json:"programs"`
	// Removed are the keys of the profile whose secrets the programs have.
	Removed []string `json:"removed_keys,omitempty"`
}

// setOptions has the flags of profile set.
type setOptions struct {
	secret, mac, challenge, none bool
	timeout                      time.Duration
	asJSON                       bool
}

func profileSetCommand(env cli.Env) *cobra.Command {
	var o setOptions
	c := &cobra.Command{
		Use:   "set NAME [flags] -- PROGRAM [ARGUMENT…]",
		Short: "Let a program hold the secret of a stored profile",
		Long: `Let a program hold the secret of a stored profile.

With --secret-command, the program prints the client's secret, as a password manager
does: UTF-8 text on a single line. It runs once, when the client needs the secret.

With --mac-command, the program computes HMAC-SHA256 with a key that it does not give
away, as a TPM or an HSM does. On each line of its standard input it gets a message in
hexadecimal digits. For each, in the same order, it prints a line with the HMAC, 64
hexadecimal digits. It must print each line at once, and not when its input ends. One
process serves all knocks of a command. It ends when its standard input does.

With --challenge-secret-command, the program prints the secret of the operation in
[challenge]. A mac_command cannot replace it: the keys of an operation are derived from
its secret.

The words after -- are the program and its arguments. No shell reads them, so no
character in them is special. A name is looked up in PATH now, and stored as a path. The
program runs with your environment, and with no standard input of the terminal; it may
ask for a PIN on /dev/tty. If it fails, the client prints what it has printed on standard
error, and never its standard output. --timeout sets how long it may take for the secret,
or for each HMAC (default 1m), since a person may have to touch a key.

The command runs the program. If the profile has the secret too, the command checks that
both are the same, and removes it from the profile. The program's words are stored in a
file beside the profile, NAME.local, which only you may write. They never come from a
profile: "profile add" refuses one that names a program.

--none removes all programs. The profile then lacks the secrets that they had.`,
		Example: `  sallyport profile set work --secret-command -- pass show sallyport/work
  sallyport profile set work --mac-command --timeout 2m -- /usr/local/bin/tpm-hmac
  sallyport profile set work --none`,
		Args: func(c *cobra.Command, args []string) error {
			if dash := c.ArgsLenAtDash(); dash > 1 || dash < 0 && len(args) > 1 || len(args) < 1 || dash == 0 {
				return errors.New("expected a name, and the words of a program after --")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			change, err := o.change(args[1:], c.Flags().Changed("timeout"))
			if err != nil {
				return cli.Misuse(err)
			}
			s, removed, err := profiles(c, env).SetPrograms(c.Context(), args[0], change)
			if err != nil {
				return cli.Misuse(err)
			}
			if o.asJSON {
				return env.Out().JSON(setProfile{args[0], s.Path, s.Programs, removed})
			}
			return printSet(env, s, removed, o.none)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.secret, "secret-command", false, "the program prints the client's secret")
	f.BoolVar(&o.mac, "mac-command", false, "the program computes the HMACs, and keeps the client's secret")
	f.BoolVar(&o.challenge, "challenge-secret-command", false, "the program prints the secret of [challenge]")
	f.DurationVar(&o.timeout, "timeout", 0, "how `long` a program may take, from 1s to 10m (default 1m)")
	f.BoolVar(&o.none, "none", false, "remove all programs")
	cli.AddJSONFlag(c, &o.asJSON)
	return c
}

// change returns what the flags and the words of a program change.
func (o setOptions) change(words []string, timed bool) (func(*profile.Programs), error) {
	kinds := 0
	for _, given := range []bool{o.secret, o.mac, o.challenge} {
		if given {
			kinds++
		}
	}
	switch {
	case o.none && (kinds > 0 || timed || len(words) > 0):
		return nil, errors.New("expected --none alone")
	case o.none:
		return func(p *profile.Programs) { *p = profile.Programs{} }, nil
	case kinds > 1:
		return nil, errors.New("expected one of --secret-command, --mac-command and --challenge-secret-command, got several")
	case kinds == 0 && len(words) > 0:
		return nil, errors.New("expected --secret-command, --mac-command or --challenge-secret-command before the program")
	case kinds == 1 && len(words) == 0:
		return nil, cli.WithHint(errors.New("expected the words of a program after --, got none"),
			"for example: sallyport profile set work --secret-command -- pass show sallyport/work")
	case kinds == 0 && !timed:
		return nil, errors.New("expected --secret-command, --mac-command, --challenge-secret-command, --timeout or --none")
	case timed && (o.timeout < time.Second || o.timeout > 10*time.Minute):
		return nil, fmt.Errorf("--timeout: expected a time from 1s to 10m, got %s", o.timeout)
	}
	var argv []string
	if len(words) > 0 {
		path, err := profile.Executable(words[0], exec.LookPath)
		if err != nil {
			return nil, err
		}
		argv = append([]string{path}, words[1:]...)
	}
	return func(p *profile.Programs) {
		switch {
		case o.secret:
			p.SecretCommand, p.MACCommand = argv, nil
		case o.mac:
			p.SecretCommand, p.MACCommand = nil, argv
		case o.challenge:
			p.Challenge = &profile.ChallengePrograms{SecretCommand: argv}
		}
		if timed {
			p.Timeout = o.timeout.String()
		}
	}, nil
}

func printSet(env cli.Env, s profile.Stored, removed []string, none bool) error {
	if none {
		err := env.Out().Printf("removed the programs of %s\n", s.Path)
		if err == nil && s.LacksSecret() {
			err = env.Err().Warning("the profile lacks a secret, and opens nothing",
				"give the profile another program, or replace it by one with the secret: sallyport profile replace NAME FILE")
		}
		return err
	}
	if err := env.Out().Printf("set %s\n", strings.Join(programLines(s.Programs), ", ")); err != nil {
		return err
	}
	if len(removed) == 0 {
		return nil
	}
	return env.Out().Printf("removed the key %s from %s: the program has the same secret\n", strings.Join(removed, ", "), s.Path)
}

// programLines returns the commands of a local file, a line each.
func programLines(p profile.Programs) (lines []string) {
	add := func(key string, argv []string) {
		if len(argv) > 0 {
			words := make([]string, len(argv))
			for i, word := range argv {
				words[i] = strconv.Quote(word)
			}
			lines = append(lines, fmt.Sprintf("%s = [%s]", key, strings.Join(words, ", ")))
		}
	}
	add("secret_command", p.SecretCommand)
	add("mac_command", p.MACCommand)
	if p.Challenge != nil {
		add("challenge.secret_command", p.Challenge.SecretCommand)
	}
	if p.Timeout != "" && len(lines) > 0 {
		lines = append(lines, fmt.Sprintf("timeout = %q", p.Timeout))
	}
	return lines
}
