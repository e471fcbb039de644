package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
)

// listed is a client in the list, for programs.
type listed struct {
	Identifier    string     `json:"identifier"`
	Services      []string   `json:"services"`       // that it may open; null: all
	Nonce         uint32     `json:"nonce"`          // the largest one used with the current secret
	LastOpened    *time.Time `json:"last_opened"`    // the stamp of the last knock that was granted; null: none
	PreviousUntil *time.Time `json:"previous_until"` // the end of the old secret; null: there is none
	Expires       *time.Time `json:"expires"`        // from when on it is refused; null: it does not expire
	Expired       bool       `json:"expired"`
	Note          string     `json:"note"`
	Fault         string     `json:"fault,omitempty"` // what is wrong with the services
	Hint          string     `json:"hint,omitempty"`
}

func clientListCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:        "list",
		SuggestFor: []string{"ls", "show"},
		Short:      "List the clients, without secrets",
		Long: `List the clients, without secrets.

NONCE is the largest nonce that the client has used with its current secret. LAST
OPENED is when the client stamped its last knock that was granted, even if a program
or a command then kept the service closed. From EXPIRES on, the server refuses the
client; the column is there if some client expires.
With --json there is one object for each client, with times in UTC.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, list, err := loadLenient(c.Context(), env, path, config.Alone)
			if err != nil {
				return err
			}
			record, err := readRecord(c.Context(), cfg)
			if err != nil {
				env.Err().Warning("cannot read all of the record of used nonces: "+err.Error(), "")
			}
			columns := []string{"CLIENT", "SERVICES", "NONCE", "LAST OPENED", "OLD SECRET UNTIL", "NOTE"}
			// Most lists need no column for it.
			expires := slices.ContainsFunc(list, func(c clients.Client) bool { return !c.Expires.IsZero() })
			if expires {
				columns = slices.Insert(columns, len(columns)-1, "EXPIRES")
			}
			rows := [][]output.Cell{output.Header(columns...)}
			for _, c := range list {
				l := listed{
					Identifier: c.Identifier.String(), Services: c.Allowed(), Note: c.Note, Expires: expiryOf(c), Expired: c.Expired(env.Now()),
					Nonce: record.highestNonce(c),
				}
				if stamp, opened := record.lastOpened(c); opened {
					l.LastOpened = utc(time.Unix(int64(stamp), 0))
				}
				if c.Previous != nil && env.Now().Before(c.Until) {
					l.PreviousUntil = utc(c.Until)
				}
				if err := c.CheckServices(cfg.ServiceNames()); err != nil {
					l.Fault, l.Hint = err.Error(), withConfig(c.HowToFix(), path)
				}
				if asJSON {
					if err := env.Out().JSON(l); err != nil {
						return err
					}
					continue
				}
				services := output.Cell{Text: c.Services}
				if c.Services == "" {
					services.Text = "all"
				}
				if l.Fault != "" {
					services.Colour = output.Yellow
					env.Err().Warning(fmt.Sprintf("client %s: %s", c.Identifier, l.Fault), l.Hint)
				}
				row := []output.Cell{
					{Text: l.Identifier}, services, {Text: fmt.Sprint(l.Nonce)},
					{Text: timeOrNone(env, l.LastOpened)}, {Text: timeOrNone(env, l.PreviousUntil)}, {Text: l.Note},
				}
				if expires {
					row = slices.Insert(row, len(row)-1, expiryCell(env, l))
				}
				rows = append(rows, row)
			}
			if asJSON {
				return nil
			}
			return env.Out().Columns().Print(rows...)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

func expiryCell(env cli.Env, l listed) output.Cell {
	c := output.Cell{Text: timeOrNone(env, l.Expires)}
	if l.Expired {
		c.Colour = output.Yellow
	}
	return c
}

func utc(t time.Time) *time.Time {
	t = t.UTC()
	return &t
}

// timeOrNone formats a time for a column.
func timeOrNone(env cli.Env, t *time.Time) string {
	if t == nil {
		return "-"
	}
	return env.Time(*t)
}
