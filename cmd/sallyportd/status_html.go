package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/internal/terminal"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/statuspage"
	"sallyport/sessions/durable"
)

// standardOutput is the name of standard output, where a file is expected.
const standardOutput = "-"

// htmlTarget returns where "status --html" writes the page.
func htmlTarget(env cli.Env, args []string, otherForm bool) (string, error) {
	to := standardOutput
	if len(args) > 0 {
		to = args[0]
	}
	switch {
	case len(args) > 1:
		return "", fmt.Errorf("unexpected argument %q", args[1])
	case otherForm:
		return "", errors.New("expected --html without --json and --watch, got both")
	case to == standardOutput && env.StdoutTerminal:
		return "", cli.WithHint(errors.New("expected a file for the page, got a terminal"), "sallyportd status --html status.html")
	}
	return to, nil
}

// writeStatusPage writes the page to a file that only this user can read, since it names
// clients and addresses. A file of that name is replaced as a whole.
func writeStatusPage(ctx context.Context, env cli.Env, cfg *config.Config, to string, timeout time.Duration) error {
	var st admin.Status
	var past admin.History
	var leases []admin.Lease
	if err := asked(ctx, cfg, timeout, func(ctx context.Context, c admin.Conn) (err error) {
		if st, err = c.Status(ctx); err != nil {
			return err
		}
		if past, err = c.History(ctx); err != nil {
			return err
		}
		leases, err = c.Leases(ctx)
		return err
	}); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := statuspage.Write(&text, pageInput(env, st, past, leases)); err != nil {
		return err
	}
	if to == standardOutput {
		_, err := io.Copy(terminal.Raw(env.Stdout), &text)
		return err
	}
	return durable.WriteFile(to, text.Bytes(), 0o600)
}

// pageInput returns what the page shows: the facts and tables of the text, and more.
func pageInput(env cli.Env, st admin.Status, past admin.History, leases []admin.Lease) statuspage.Input {
	in := statuspage.Input{Zone: env.Zone, History: past, Leases: leases}
	for _, row := range statusFacts(env, st) {
		in.Facts = append(in.Facts, statuspage.Fact{Name: row[0].Text, Text: row[1].Text, Attention: needsAttention(row[1])})
	}
	for _, t := range []struct {
		title string
		rows  [][]output.Cell
	}{{"Services", statusServices(st)}, {"Refusals since the start", statusRefusals(st)}, {"Queues", statusQueues(st)}} {
		table := statuspage.Table{Title: t.title}
		for i, row := range t.rows {
			var cells []statuspage.Cell
			for _, c := range row {
				cells = append(cells, statuspage.Cell{Text: c.Text, Attention: needsAttention(c)})
			}
			if i > 0 {
				table.Rows = append(table.Rows, cells)
				continue
			}
			for _, c := range cells {
				table.Head = append(table.Head, c.Text)
			}
		}
		in.Tables = append(in.Tables, table)
	}
	return in
}

func needsAttention(c output.Cell) bool { return c.Colour == output.Yellow || c.Colour == output.Red }
