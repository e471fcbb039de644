package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/sessions/state"
)

// usesReset is the result of "operation reset" for programs.
type usesReset struct {
	Server string `json:"server"` // as of clientResult
	admin.Uses
}

func operationResetCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "reset ID",
		Short: "Count the uses of an operation from zero",
		Long: `Count the uses of an operation from zero: it may then be used again, as often as
its key "uses" permits.

The holder of the secret can use it again then. If the operation was for a borrowed
machine, add another operation instead. A new secret also begins at zero.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := config.Load(path, config.Secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			if err := checkLimited(cfg, args[0]); err != nil {
				return cli.Misuse(err)
			}
			now, running, err := resetUses(c.Context(), cfg, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return env.Out().JSON(usesReset{serverState(running, nil), now})
			}
			return env.Out().Printf("Operation %s may be used %s. %s\n", now.Operation, count(now.Left, "time"), serverLine(cfg, running))
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// checkLimited returns an error if an operation has no limit.
func checkLimited(cfg *config.Config, id string) error {
	for _, o := range cfg.Operations {
		switch {
		case o.ID == id && o.Uses > 0:
			return nil
		case o.ID == id:
			return cli.WithHint(fmt.Errorf("operation %s has no limit of uses", id), "\"uses = N\" of the operation sets one")
		}
	}
	return cli.WithHint(fmt.Errorf("there is no operation %q in %s", id, cfg.Path), "the operations: sallyportd operation list")
}

// resetUses makes the running server count the uses of an operation from zero or, if
// none runs, changes the record.
func resetUses(ctx context.Context, cfg *config.Config, id string) (now admin.Uses, running bool, err error) {
	running, err = askServer(ctx, cfg, func(c admin.Conn) (err error) {
		now, err = c.ResetUses(ctx, admin.ResetUses{Operation: id})
		return err
	})
	if err != nil || running {
		return now, running, err
	}
	now, err = daemon.ResetRecordedUses(ctx, cfg, id)
	var locked *state.LockedError
	switch {
	case errors.As(err, &locked):
		err = cli.WithHint(errors.New("a server is starting"), "run the command again")
	case errors.Is(err, fs.ErrNotExist):
		err = cli.WithHint(fmt.Errorf("there is no record of uses in %s: %w", cfg.StateDir, err), "start the server, and run the command again")
	case err != nil:
		err = hint.Writing(fmt.Errorf("write the record of uses: %w", err))
	}
	return now, false, err
}

// usesOf returns how often the operations of a configuration may still be used: by the
// running server, or else by the record. It reads secrets only if it needs them.
func usesOf(ctx context.Context, cfg *config.Config) (map[string]admin.Uses, error) {
	limited := false
	for _, o := range cfg.Operations {
		limited = limited || o.Uses > 0
	}
	if !limited {
		return nil, nil
	}
	var list []admin.Uses
	running, err := askServer(ctx, cfg, func(c admin.Conn) (err error) {
		list, err = c.Uses(ctx)
		return err
	})
	if err == nil && !running {
		if cfg, err = config.Load(cfg.Path, config.Secrets); err != nil {
			return nil, cli.Misuse(err)
		}
		var lost error
		list, lost = daemon.RecordedUses(cfg)
		var newer *state.NewerError
		if errors.As(lost, &newer) || errors.Is(lost, fs.ErrPermission) {
			err = lost
		}
	}
	all := map[string]admin.Uses{}
	for _, u := range list {
		all[u.Operation] = u
	}
	return all, err
}
