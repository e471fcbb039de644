package main

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/terminal"
	"sallyport/cmd/sallyportd/internal/diag"
	"sallyport/sessions/durable"
)

// diagResult is the result of "diag" for programs.
type diagResult struct {
	File    string         `json:"file"`
	Missing []diag.Missing `json:"missing"` // parts that are missing or incomplete
}

func diagCommand(env cli.Env) *cobra.Command {
	var path, out string
	var asJSON bool
	timeout := 5 * time.Second
	c := &cobra.Command{
		Use:        "diag",
		SuggestFor: []string{"bugreport", "support", "sosreport", "debug"},
		Short:      "Write an archive for a bug report",
		Long: `Write an archive for a bug report: the version, the configuration without its
secrets, the findings of "check", and the kernel, the limits and our table of the
firewall. Of the running server: its status, counters, metrics, leases, the last hour
and the last 200 lines of its log.

The archive has no secret. Clients, operations and addresses of the Internet have
pseudonyms; host names and arguments of programs are left out. Look at it before you
send it. Parts for which this user lacks rights, and those of a server that does not
run, are missing; the command names them, and succeeds.`,
		Example: "  sallyportd diag\n  sallyportd diag -o - | tar -tz",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case timeout < minStatusTime || timeout > maxStatusTime:
				return cli.Misuse(outOfRange("timeout", timeout))
			case out == standardOutput && asJSON:
				return cli.Misuse(errors.New("expected -o - without --json, got both"))
			case out == standardOutput && env.StdoutTerminal:
				return cli.Misuse(cli.WithHint(errors.New("expected a file for the archive, got a terminal"), "sallyportd diag -o FILE"))
			}
			return writeDiag(c.Context(), env, path, out, timeout, asJSON)
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the new `file` for the archive, or - for standard output (default sallyport-diag-TIME.tar.gz)")
	c.Flags().DurationVar(&timeout, "timeout", timeout, "the `time` in which the server must answer each request")
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// writeDiag writes the archive to a new file that only this user can read.
func writeDiag(ctx context.Context, env cli.Env, path, out string, timeout time.Duration, asJSON bool) error {
	now := env.Now()
	scrubber := new(diag.Scrubber)
	parts := diagParts(ctx, env, path, timeout, scrubber)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var archive bytes.Buffer
	missing, err := diag.Write(&archive, now, scrubber, parts)
	if err != nil {
		return err
	}
	if out == "" {
		out = "sallyport-diag-" + now.UTC().Format("20060102T150405Z") + ".tar.gz"
	}
	if out == standardOutput {
		if _, err := terminal.Raw(env.Stdout).Write(archive.Bytes()); err != nil {
			return err
		}
	} else if err := durable.CreateFile(out, archive.Bytes(), 0o600); err != nil {
		return err
	}
	if asJSON {
		return env.Out().JSON(diagResult{out, missing})
	}
	for _, m := range missing {
		if err := env.Err().Warning(m.Part+" is missing or incomplete: "+m.Reason, ""); err != nil {
			return err
		}
	}
	if out == standardOutput {
		return nil
	}
	return env.Out().Printf("wrote %s, which has no secret. Look at it before you send it: tar -xzf %s\n", out, out)
}
