package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/terminal"
	"sallyport/cmd/sallyportd/internal/config"
)

func clientListCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the clients, without secrets",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, list, err := loadLenient(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
			record, err := nonceRecord(c.Context(), cfg)
			if err != nil {
				fmt.Fprintf(env.Stderr, "warning: the record of used nonces is not whole: %s\n", terminal.Lines(err.Error()))
			}
			fmt.Fprintln(w, "CLIENT\tSERVICES\tNONCE\tLAST IN\tOLD SECRET UNTIL\tNOTE")
			for _, c := range list {
				until := "-"
				if c.Previous != nil && env.Now().Before(c.Until) {
					until = c.Until.UTC().Format(time.RFC3339)
				}
				last := "-"
				if e, ok := record[c.Identifier]; ok {
					last = time.Unix(int64(e.Stamp), 0).UTC().Format(time.RFC3339)
				}
				services := c.Services
				if services == "" {
					services = "all"
				}
				if err := c.CheckServices(cfg.ServiceNames()); err != nil {
					fmt.Fprintf(env.Stderr, "warning: client %s: %s; %s\n", c.Identifier, terminal.Text(err.Error()), terminal.Text(c.HowToFix()))
				}
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", c.Identifier, terminal.Text(services), max(c.Mark, record[c.Identifier].HighestNonce), last, until, terminal.Text(c.Note))
			}
			return w.Flush()
		},
	}
	addConfigFlag(c, &path)
	return c
}
