package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/state"
)

// stateImported is the result of "state import" for programs.
type stateImported struct {
	File    string `json:"file"`
	Clients int    `json:"clients"`
	Leases  int    `json:"leases_ended"` // that a start would have opened again
}

func stateImportCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Make the state file from an export of this or another release",
		Long: `Make the state file from a file of "state export --out", of this or another release.

The command opens nothing, and does not replace a state file. The server may have
accepted knocks after the export, so it will reject knocks that are stamped up to
a minute after its next start. Recorded leases in state_dir that a start would
open again end; counts of operations and on_close commands are not in the export,
and those in state_dir stay. Stop the server first.`,
		Example: "  sallyportd state export --out nonces.export\n  sallyportd state import nonces.export",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			contents, err := readExport(cfg, args[0])
			if err != nil {
				return cli.Misuse(fmt.Errorf("read the export %s: %w", args[0], err))
			}
			ended, err := state.Import(c.Context(), cfg.StateDir, contents, env.Now())
			var locked *state.LockedError
			switch {
			case errors.As(err, &locked):
				return cli.WithHint(errors.New(locked.Error()), "stop the server first")
			case errors.Is(err, fs.ErrExist):
				return cli.Misuse(cli.WithHint(err, "to replace the record, stop the server, and move this file away"))
			case err != nil:
				return hint.Writing(fmt.Errorf("import the record of nonces: %w", err))
			}
			done := stateImported{filepath.Join(cfg.StateDir, state.FileName), contents.Clients(), ended}
			if asJSON {
				return env.Out().JSON(done)
			}
			ends := ""
			if ended > 0 {
				ends = fmt.Sprintf("%s ended: the server does not open them again\n", count(ended, "recorded lease"))
			}
			return env.Out().Printf("new state file with the nonces of %s: %s\n%sthe server will reject knocks stamped up to a minute after its next start\n",
				count(done.Clients, "client"), done.File, ends)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// readExport reads an export that other users cannot change.
func readExport(cfg *config.Config, path string) (state.Contents, error) {
	f, err := cfg.SecretFiles.Open(path)
	if err != nil {
		return state.Contents{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, state.MaxExport+1))
	if err != nil {
		return state.Contents{}, err
	}
	if len(text) > state.MaxExport {
		return state.Contents{}, fmt.Errorf("expected at most %d bytes, got more", state.MaxExport)
	}
	return state.DecodeExport(text)
}
