package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

func stateCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "state", Short: "Verify, export or reset the record of used nonces"})
	group.AddCommand(stateVerifyCommand(env), stateExportCommand(env), stateResetCommand(env))
	return group
}

func stateVerifyCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "verify",
		Short: "Read the whole state file and check all of it",
		Long: `Read the whole state file and check all of it.

While a server runs, a copy is checked that it makes. A warning says if the next
start refuses knocks for longer than until its second is over, and if what was
recorded shows that this host's clock is wrong, or was.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			contents, err := readState(c.Context(), cfg)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "sound: %s, form %d, with the nonces of %d clients\n", filepath.Join(cfg.StateDir, state.FileName), contents.Version, len(contents.Entries))
			for _, w := range gapWarnings(contents, env.Now()) {
				if err == nil {
					_, err = fmt.Fprintf(env.Stdout, "warning: %s\n", w)
				}
			}
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

func stateExportCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "export",
		Short: "Print the record of used nonces, as far as it is readable",
		Long: `Print the record of used nonces: of each client the identifier, the largest
nonce that opened something, when that knock was stamped, and the window: a
bitmap of 256 bits in hex, in which nonce n has bit n%64 of word n/64%4.

Of a damaged file what is still readable is printed, with exit code 1. While a
server runs, it is asked.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			contents, err := readState(c.Context(), cfg)
			var damaged *state.DamagedError
			if err != nil && !errors.As(err, &damaged) {
				return err
			}
			_, printErr := fmt.Fprintln(env.Stdout, "# identifier, largest nonce used, stamp, window")
			for _, e := range contents.Entries {
				if printErr == nil {
					_, printErr = fmt.Fprintf(env.Stdout, "%s %d %s %016x\n", e.Identifier, e.HighestNonce, time.Unix(int64(e.Stamp), 0).UTC().Format(time.RFC3339), e.Ring)
				}
			}
			return errors.Join(err, printErr)
		},
	}
	addConfigFlag(c, &path)
	return c
}

func stateResetCommand(env cli.Env) *cobra.Command {
	var path string
	var empty bool
	c := &cobra.Command{
		Use:   "reset",
		Short: "Begin a new state file with what is still readable of the old one",
		Long: `Begin a new state file with what is still readable of the old one.

The old one is kept beside it. Knocks stamped up to a minute after the next
start will be refused, since nonces may be lost. The server has to be stopped
first.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			o, err := state.Reset(c.Context(), cfg.StateDir, env.Now(), !empty)
			var locked *state.LockedError
			if errors.As(err, &locked) {
				return cli.WithHint(errors.New(locked.Error()), "stop the server first")
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, "a new state file with the nonces of %d clients: %s\n", o.Kept, filepath.Join(cfg.StateDir, state.FileName))
			if o.Aside != "" {
				fmt.Fprintf(env.Stdout, "the old one: %s\n", o.Aside)
			}
			_, err = fmt.Fprintln(env.Stdout, "knocks stamped up to a minute after the next start will be refused")
			return err
		},
	}
	c.Flags().BoolVar(&empty, "empty", false, "take nothing over from the old file: the marks of the clients file then count alone")
	addConfigFlag(c, &path)
	return c
}

// readState reads the state file, or the copy that a running server makes.
// With a state.DamagedError comes what is still readable.
func readState(ctx context.Context, cfg *config.Config) (state.Contents, error) {
	contents, err := state.ReadDir(ctx, cfg.StateDir)
	var locked *state.LockedError
	switch {
	case errors.As(err, &locked):
		copied, err := admin.Client{Socket: cfg.AdminSocket}.State(ctx)
		if err != nil {
			return contents, &unansweredError{cfg.StateDir, err}
		}
		return state.Read(bytes.NewReader(copied), int64(len(copied)), "of the server")
	case errors.Is(err, fs.ErrNotExist):
		return contents, cli.WithHint(fmt.Errorf("read the state file: %w", err), "no server has run with this configuration yet, or its state_dir was lost; \"serve\" makes one")
	}
	return contents, err
}

// unansweredError says that a server runs that cannot be asked. It wraps nothing:
// that its socket is not there does not mean that there is no state file.
type unansweredError struct {
	dir string
	err error
}

func (e *unansweredError) Error() string {
	return fmt.Sprintf("a process holds %s, and no server answers for it: %v", e.dir, e.err)
}

// Hint says where to look.
func (e *unansweredError) Hint() string {
	var hinted interface{ Hint() string }
	if errors.As(e.err, &hinted) {
		return hinted.Hint()
	}
	return "stop that process, and start the server again"
}

// nonceRecord is what is recorded of the clients' nonces: nothing, if there is
// no record yet. With an error comes what is still readable.
func nonceRecord(ctx context.Context, cfg *config.Config) (map[wire.Identifier]sessions.Entry, error) {
	contents, err := readState(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	record := make(map[wire.Identifier]sessions.Entry, len(contents.Entries))
	for _, e := range contents.Entries {
		record[e.Identifier] = e
	}
	return record, err
}

// raiseMark has a client that is about to get a profile begin above the nonces
// that it has used.
func raiseMark(ctx context.Context, cfg *config.Config, c *clients.Client) error {
	record, err := nonceRecord(ctx, cfg)
	if err != nil {
		return fmt.Errorf("find out which nonces client %s has used: %w", c.Identifier, err)
	}
	if e, used := record[c.Identifier]; used {
		c.Mark = max(c.Mark, e.HighestNonce, 1) // 0 would stand for none
	}
	return nil
}
