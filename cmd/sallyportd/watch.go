package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/terminal"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

func watchCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "watch",
		Short: "Tell who gets in, as it happens",
		Long: `Tell who gets in, as it happens: a line for each time that the running server
opens something, until interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			print := printGrant
			if asJSON {
				print = func(w io.Writer, g admin.Grant) error { return json.NewEncoder(w).Encode(plain(g)) }
			}
			return admin.Client{Socket: cfg.AdminSocket}.Watch(c.Context(),
				func() { fmt.Fprintln(env.Stderr, "watching until interrupted") },
				func(g admin.Grant) error { return print(env.Stdout, g) })
		},
	}
	addConfigFlag(c, &path)
	c.Flags().BoolVar(&asJSON, "json", false, "an object of JSON a line")
	return c
}

// plain is a grant as it may be printed: the server is another process.
func plain(g admin.Grant) admin.Grant {
	g.Client, g.Operation = terminal.Text(g.Client), terminal.Text(g.Operation)
	for i, s := range g.Services {
		g.Services[i] = terminal.Text(s)
	}
	return g
}

func printGrant(w io.Writer, g admin.Grant) error {
	g = plain(g)
	if g.Missed > 0 {
		if _, err := fmt.Fprintf(w, "(%d were not told)\n", g.Missed); err != nil {
			return err
		}
	}
	operation := ""
	if g.Operation != "" {
		operation = " by operation " + g.Operation
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s%s\n", g.Time.Format(time.RFC3339), g.Client, terminal.Text(g.Address.String()), strings.Join(g.Services, ","), operation)
	return err
}
