package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/selftest"
	"sallyport/sessions"
	"sallyport/sessions/state"
)

func stateCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "state", Short: "Verify, export, import or reset the record of used nonces and of leases"})
	group.AddCommand(stateVerifyCommand(env), stateExportCommand(env), stateImportCommand(env), stateResetCommand(env))
	return group
}

// verified is the result of "state verify" for programs.
type verified struct {
	Sound    bool      `json:"sound"`
	File     string    `json:"file"`
	Format   uint32    `json:"format"`
	Clients  int       `json:"clients"`          // with nonces
	Leases   int       `json:"leases"`           // that last until they are closed
	Closing  int       `json:"closing_commands"` // that must still run
	Uses     int       `json:"operation_uses"`   // counts of operations with a limit
	Findings []finding `json:"findings"`
}

func stateVerifyCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Read the whole state file, and check all of it",
		Long: `Read the whole state file, and check all of it.

While a server runs, the server makes a copy, and the command checks the copy.
The command warns if the next start will reject knocks for longer than every
start does, and if the record shows that this host's clock is wrong, or was.`,
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
			recorded, err := state.ReadKept(cfg.StateDir)
			if err != nil {
				return err
			}
			leases := untilClosed(recorded)
			closing, err := state.ReadClosing(cfg.StateDir)
			if err != nil {
				return err
			}
			uses, err := readUses(cfg)
			if err != nil {
				return err
			}
			file := filepath.Join(cfg.StateDir, state.FileName)
			found := findingsFor(path, gapFindings(contents, env))
			if asJSON {
				return env.Out().JSON(verified{true, file, contents.Version, contents.Clients(), len(leases), len(closing), len(uses), orEmpty(found)})
			}
			err = env.Out().Printf("sound: %s, format %d, with the nonces of %s\n",
				file, contents.Version, count(contents.Clients(), "client"))
			if err == nil && len(leases) > 0 {
				err = env.Out().Printf("sound: %s, with %s until closed\n", filepath.Join(cfg.StateDir, state.KeptFileName), count(len(leases), "lease"))
			}
			if n := len(recorded) - len(leases); err == nil && n > 0 {
				err = env.Out().Printf("sound: %s, with %s interrupted by a restart\n", filepath.Join(cfg.StateDir, state.KeptFileName), count(n, "lease"))
			}
			if err == nil && len(closing) > 0 {
				err = env.Out().Printf("sound: %s, with %s to run\n", filepath.Join(cfg.StateDir, state.ClosingFileName), count(len(closing), "closing command"))
			}
			if err == nil && len(uses) > 0 {
				err = env.Out().Printf("sound: %s, with the counts of %s\n", filepath.Join(cfg.StateDir, state.UsesFileName), count(len(uses), "operation"))
			}
			if err != nil {
				return err
			}
			return printFindings(env.Out(), found)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// exported is an entry of the record for programs.
type exported struct {
	Identifier string    `json:"identifier"`
	Nonce      uint32    `json:"nonce"`
	Stamp      time.Time `json:"stamp"`
	Window     []string  `json:"window"`
}

// print prints the entry for people.
func (e exported) print(out *output.Printer) error {
	return out.Printf("%s %d %s %s\n", e.Identifier, e.Nonce, e.Stamp.Format(time.RFC3339), e.Window)
}

func stateExportCommand(env cli.Env) *cobra.Command {
	var path, out string
	var form uint32
	var asJSON bool
	c := &cobra.Command{
		Use:   "export",
		Short: "Print the record of used nonces, as far as it is readable",
		Long: `Print the record of used nonces. For each secret of a client, current or former:
the identifier, the largest nonce that opened something, the latest stamp of such a
knock (in UTC), and the window: a bitmap of 256 bits in hex, in which nonce n has
bit n%64 of word n/64%4. The record does not contain the secrets.

After that it prints the leases that last until they are closed: the service, the
operation, the client, the address or network, and since when; and in the same form
the leases whose on_close command must still run; and for operations with a limit, how
often they were used.

If a file is damaged, the command prints what is still readable, and the exit
code is 1. While a server runs, the record comes from the server.

With --out, the command writes nonces to a new file, which only this user can read,
for "state import". With --format, that file is a state file of an earlier release,
which that release uses as nonces.db. Neither has anything that opens a service.`,
		Example: "  sallyportd state export --out nonces.export\n  sallyportd state export --format 2 --out nonces.db",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			if out != "" {
				return writeState(c, env, cfg, out, form, asJSON)
			}
			if c.Flags().Changed("format") {
				return cli.Misuse(errors.New("--format requires --out"))
			}
			contents, err := readState(c.Context(), cfg)
			var damaged *state.DamagedError
			if err != nil && !errors.As(err, &damaged) {
				return err
			}
			out := env.Out()
			if !asJSON {
				if err := out.Printf("# identifier, largest nonce used, stamp, window\n"); err != nil {
					return err
				}
			}
			for _, e := range contents.Entries {
				entry := exported{e.Identifier.String(), e.HighestNonce, time.Unix(int64(e.Stamp), 0).UTC(), nil}
				for _, word := range e.Ring {
					entry.Window = append(entry.Window, fmt.Sprintf("%016x", word))
				}
				print := entry.print
				if asJSON {
					print = func(out *output.Printer) error { return out.JSON(entry) }
				}
				if printErr := print(out); printErr != nil {
					return errors.Join(err, printErr)
				}
			}
			return errors.Join(err, exportLeases(cfg, out, asJSON), exportClosing(cfg, out, asJSON), exportUses(cfg, out, asJSON))
		},
	}
	c.Flags().StringVar(&out, "out", "", "write a new `file`")
	c.Flags().Uint32Var(&form, "format", 0, "with --out, write a state file of this format, for an earlier release")
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// exportedLease is a recorded lease for programs.
type exportedLease struct {
	Lease admin.Lease `json:"lease"`
}

// untilClosed returns the recorded leases without an end: the others are of no use to
// another host, or after a reboot.
func untilClosed(list []state.Kept) []state.Kept {
	return slices.DeleteFunc(slices.Clone(list), func(k state.Kept) bool { return k.End != (state.End{}) })
}

// exportLeases prints the recorded leases without an end.
func exportLeases(cfg *config.Config, out *output.Printer, asJSON bool) error {
	recorded, err := state.ReadKept(cfg.StateDir)
	if err != nil {
		return err
	}
	leases := untilClosed(recorded)
	if len(leases) > 0 && !asJSON {
		if err := out.Printf("# leases until closed: service, operation, client, peer, since\n"); err != nil {
			return err
		}
	}
	for _, k := range leases {
		l := daemon.RecordedLease(k)
		if asJSON {
			err = out.JSON(exportedLease{l})
		} else {
			err = out.Printf("%s %s %s %s %s\n", l.Service, l.Operation, orDash(l.Client), peerText(l), l.Since.Format(time.RFC3339))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// exportedClosing is a recorded closing command for programs.
type exportedClosing struct {
	Closing admin.Lease `json:"closing_command"`
}

// exportClosing prints the closing commands that must still run, as far as they are
// readable.
func exportClosing(cfg *config.Config, out *output.Printer, asJSON bool) error {
	list, err := state.ReadClosing(cfg.StateDir)
	if len(list) > 0 && !asJSON {
		if err := out.Printf("# closing commands to run: service, operation, client, peer, since\n"); err != nil {
			return err
		}
	}
	for _, c := range list {
		l := daemon.ClosingLease(c)
		var printErr error
		if asJSON {
			printErr = out.JSON(exportedClosing{l})
		} else {
			printErr = out.Printf("%s %s %s %s %s\n", l.Service, orDash(l.Operation), orDash(l.Client), peerText(l), l.Since.Format(time.RFC3339))
		}
		if printErr != nil {
			return errors.Join(err, printErr)
		}
	}
	return err
}

// resetResult is the result of "state reset" for programs.
type resetResult struct {
	File    string `json:"file"`
	Clients int    `json:"clients"`            // whose nonces were kept
	Leases  int    `json:"leases_ended"`       // until they are closed; none opens again
	Closing int    `json:"closing_commands"`   // that the next start runs
	OldFile string `json:"old_file,omitempty"` // empty: there was none
}

func stateResetCommand(env cli.Env) *cobra.Command {
	var path string
	var empty, asJSON bool
	c := &cobra.Command{
		Use:   "reset",
		Short: "Make a new state file from the readable part of the old one",
		Long: `Make a new state file from the readable part of the old one.

The command keeps the old file beside the new one. Since nonces may be lost, the
server will reject knocks that are stamped up to a minute after its next start.
Leases that last until they are closed end. on_close commands that must still run
stay recorded. Stop the server first.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			report, err := state.Reset(c.Context(), cfg.StateDir, env.Now(), !empty)
			var locked *state.LockedError
			if errors.As(err, &locked) {
				return cli.WithHint(errors.New(locked.Error()), "stop the server first")
			}
			if err != nil {
				return err
			}
			result := resetResult{filepath.Join(cfg.StateDir, state.FileName), report.Kept, report.LeasesEnded, report.Closing, report.Aside}
			if asJSON {
				return env.Out().JSON(result)
			}
			old := ""
			if result.OldFile != "" {
				old = fmt.Sprintf("the old file: %s\n", result.OldFile)
			}
			if result.Leases > 0 {
				old += fmt.Sprintf("%s without an end ended: the server does not open them again\n", count(result.Leases, "lease"))
			}
			if result.Closing > 0 {
				old += fmt.Sprintf("%s left: the next start runs them\n", count(result.Closing, "closing command"))
			}
			return env.Out().Printf("new state file with the nonces of %s: %s\n%sthe server will reject knocks stamped up to a minute after its next start\n",
				count(result.Clients, "client"), result.File, old)
		},
	}
	c.Flags().BoolVar(&empty, "empty", false, "keep nothing of the old file; only the nonces in the clients file count then")
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// readState reads the state file, or the copy that a running server makes. With a
// state.DamagedError it returns what is still readable.
func readState(ctx context.Context, cfg *config.Config) (contents state.Contents, err error) {
	err = awaitSocket(ctx, func() error {
		contents, err = readStateOnce(ctx, cfg)
		return err
	})
	contents.Entries = slices.DeleteFunc(contents.Entries, func(e sessions.Entry) bool { return selftest.Reserved(e.Identifier) })
	return contents, err
}

func readStateOnce(ctx context.Context, cfg *config.Config) (state.Contents, error) {
	contents, err := state.ReadDir(ctx, cfg.StateDir)
	var locked *state.LockedError
	switch {
	case errors.As(err, &locked):
		copied, err := admin.Conn{Socket: cfg.AdminSocket}.State(ctx)
		if err != nil {
			return contents, &unansweredError{cfg.StateDir, err}
		}
		return state.Read(bytes.NewReader(copied), int64(len(copied)), "of the server")
	case errors.Is(err, fs.ErrNotExist):
		return contents, cli.WithHint(fmt.Errorf("read the state file: %w", err),
			"no server has run with this configuration yet, or its state_dir was lost; \"sallyportd serve\" makes a new file")
	}
	return contents, err
}

// unansweredError reports that a server runs, but does not answer. It wraps no
// error: a missing socket must not be taken for a missing state file.
type unansweredError struct {
	dir string
	err error
}

func (e *unansweredError) Error() string {
	return fmt.Sprintf("a process holds %s, but no server answers for it: %v", e.dir, e.err)
}

// FailureCode is the exit code of a command that fails with it.
func (e *unansweredError) FailureCode() int { return exitUnreachable }

// Hint returns what to do.
func (e *unansweredError) Hint() string {
	var hinted interface{ Hint() string }
	if errors.As(e.err, &hinted) {
		return hinted.Hint()
	}
	return "stop that process, and start the server again"
}
