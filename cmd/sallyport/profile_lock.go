package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/internal/passphrase"
	"sallyport/cmd/internal/profile"
)

// passphraseFlag is the flag of all commands that names a descriptor with the passphrase of
// a locked profile, and that of a private key.
const passphraseFlag = "passphrase-fd"

// workFactor is the cost of a locked profile, as of passphrase.Encrypt.
var workFactor = passphrase.DefaultWorkFactor

// locker is the profile.Locker of a command.
type locker struct {
	ask   func(ctx context.Context, prompt string) (string, error) // nil: read is used
	read  func() (string, error)
	known map[string]string // the passphrase of each path
}

func newLocker(c *cobra.Command) *locker {
	l := &locker{ask: passphrase.Ask, known: map[string]string{}}
	if c.Flags().Changed(passphraseFlag) {
		l.ask = nil
		l.read = lineReader(c.Flags().Lookup(passphraseFlag).Value.String())
	}
	return l
}

// lineReader returns the function that reads the passphrases of a descriptor, a line each:
// that of a locked profile, and that of a private key.
func lineReader(value string) func() (string, error) {
	var d *passphrase.Descriptor
	return func() (text string, err error) {
		if d == nil {
			fd, err := strconv.Atoi(value)
			if err != nil { // the value may be the passphrase
				return "", fmt.Errorf("--%s: expected the number of a descriptor, got other text", passphraseFlag)
			}
			if d, err = passphrase.Open(fd); err != nil {
				return "", fmt.Errorf("--%s: %w", passphraseFlag, err)
			}
		}
		if text, err = d.Read(); err != nil {
			err = fmt.Errorf("--%s: %w", passphraseFlag, err)
		}
		return text, err
	}
}

// get returns a passphrase.
func (l *locker) get(ctx context.Context, prompt string) (string, error) {
	if l.ask == nil {
		return l.read()
	}
	text, err := l.ask(ctx, prompt)
	if errors.Is(err, passphrase.ErrNoTerminal) {
		err = cli.WithHint(err, "let the command read it from a descriptor: --"+passphraseFlag+" 3 3<FILE")
	}
	return text, err
}

// Unlock implements profile.Locker.
func (l *locker) Unlock(ctx context.Context, path string, locked []byte) ([]byte, error) {
	text, ok := l.known[path]
	if !ok {
		var err error
		if text, err = l.get(ctx, "passphrase of profile "+profileName(path)); err != nil {
			return nil, err
		}
	}
	content, err := passphrase.Decrypt(locked, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l.known[path] = text
	return content, nil
}

// Lock implements profile.Locker.
func (l *locker) Lock(ctx context.Context, path string, content []byte) ([]byte, error) {
	text, ok := l.known[path]
	if !ok {
		var err error
		if text, err = l.get(ctx, "new passphrase for profile "+profileName(path)); err != nil {
			return nil, err
		}
		if l.ask != nil {
			again, err := l.ask(ctx, "the same passphrase again")
			if err != nil {
				return nil, err
			}
			if again != text {
				return nil, errors.New("the passphrases differ; nothing was changed")
			}
		}
		l.known[path] = text
	}
	return passphrase.Encrypt(content, text, workFactor)
}

func profileName(path string) string { return strings.TrimSuffix(filepath.Base(path), ".toml") }

func profileLockCommand(env cli.Env) *cobra.Command {
	return lockCommand(env, true, &cobra.Command{
		Use:   "lock NAME",
		Short: "Lock a stored profile by a passphrase",
		Long: `Lock a stored profile by a passphrase.

The command asks for a passphrase twice, and encrypts the profile in the format of age,
for a scrypt recipient. From then on, each command that needs the profile asks for the
passphrase once, on the terminal and without echo: also "stay" and "forward", which then
run on. Without a terminal, --passphrase-fd N reads it from the descriptor N, up to the
end of its first line. It is never a value of a flag or of the environment.

The file is replaced at once, and no other file has the text. Blocks of the former file
may remain on the disk: for a secret that must not be found there, ask for a new one
after you have locked the profile. The record of used nonces has no secret, and is not
locked. "profile list" and "profile show" print that a profile is locked, and do not ask.

If you forget the passphrase, ask for a new profile.`,
		Example: `  sallyport profile lock work
  sallyport stay work --passphrase-fd 3 3<passphrase.txt`,
	})
}

func profileUnlockCommand(env cli.Env) *cobra.Command {
	return lockCommand(env, false, &cobra.Command{
		Use:   "unlock NAME",
		Short: "Store a locked profile without the passphrase again",
	})
}

func lockCommand(env cli.Env, lock bool, c *cobra.Command) *cobra.Command {
	var asJSON bool
	c.Args = cobra.ExactArgs(1)
	c.RunE = func(c *cobra.Command, args []string) error {
		path, err := profiles(c, env).SetLocked(c.Context(), args[0], lock)
		if err != nil {
			return cli.Misuse(err)
		}
		if asJSON {
			return env.Out().JSON(storedProfile{Name: args[0], Path: path})
		}
		if lock {
			return env.Out().Printf("locked %s\n", path)
		}
		return env.Out().Printf("unlocked %s\n", path)
	}
	cli.AddJSONFlag(c, &asJSON)
	return c
}

// lockedProfile is a locked profile in profile show --json.
type lockedProfile struct {
	Path   string `json:"path"`
	Locked bool   `json:"locked"`
}

// showLocked prints that a profile is locked.
func showLocked(env cli.Env, path string, asJSON bool) error {
	if asJSON {
		return env.Out().JSON(lockedProfile{path, true})
	}
	if err := env.Out().Printf("# %s is locked\n", path); err != nil {
		return err
	}
	return env.Err().Labelled(output.Cell{Text: "hint", Colour: output.Cyan}, "--secrets asks for the passphrase, and prints all of it")
}

// profiles returns the reader of profiles for a command.
func profiles(c *cobra.Command, env cli.Env) profile.Reader {
	l := newLocker(c)
	return profile.Reader{Stderr: env.Stderr, Locker: l, Ask: l.get}
}
