package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/state"
)

// stateWritten is the result of "state export --out" for programs.
type stateWritten struct {
	File    string `json:"file"`
	Format  uint32 `json:"format,omitempty"` // of a state file; 0: an export
	Clients int    `json:"clients"`
	LeftOut int    `json:"leases_left_out"`
}

// writeState writes the record to a new file: an export, or a state file of a format.
func writeState(c *cobra.Command, env cli.Env, cfg *config.Config, out string, form uint32, asJSON bool) error {
	if form != 0 && (form < state.EarliestFormat || form > state.LatestFormat) {
		return cli.Misuse(fmt.Errorf("--format: expected %d to %d, got %d", state.EarliestFormat, state.LatestFormat, form))
	}
	contents, err := readState(c.Context(), cfg)
	if err != nil {
		return err
	}
	done := stateWritten{File: out, Format: form, Clients: contents.Clients()}
	var text []byte
	if form == 0 {
		text, err = state.EncodeExport(contents)
	} else {
		text, done.LeftOut, err = state.Format(contents, form)
	}
	if err == nil {
		err = secretfile.Create(out, text)
	}
	if errors.Is(err, fs.ErrExist) {
		return cli.Misuse(cli.WithHint(err, "name a new file, or move the old one away"))
	}
	if err != nil {
		return hint.Writing(fmt.Errorf("export the record of nonces: %w", err))
	}
	if asJSON {
		return env.Out().JSON(done)
	}
	what := "for \"sallyportd state import\""
	if form != 0 {
		what = fmt.Sprintf("a state file of format %d", form)
	}
	err = env.Out().Printf("Wrote %s, with the nonces of %s: %s.\n", out, count(done.Clients, "client"), what)
	if err != nil || done.LeftOut == 0 {
		return err
	}
	return env.Out().Printf("%s left out, which earlier releases cannot read: a revocation does not end their connections.\n", count(done.LeftOut, "lease"))
}
