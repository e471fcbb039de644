package main

import (
	"cmp"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/config"
)

// listedOperation is an operation in the list, for programs.
type listedOperation struct {
	Operation  string   `json:"operation"`
	Service    string   `json:"service"`
	Action     string   `json:"action"`
	RandomPort bool     `json:"random_port"`
	Client     string   `json:"client,omitempty"`   // empty: any client that has the secret
	From       []string `json:"from,omitempty"`     // empty: all addresses
	OpenFor    string   `json:"open_for,omitempty"` // "until-closed", or a duration; empty: the service's, or it closes
}

func operationListCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:        "list",
		SuggestFor: []string{"ls", "show"},
		Short:      "List the operations, without secrets",
		Args:       cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			rows := [][]output.Cell{output.Header("OPERATION", "ACTION", "FOR", "SERVICE", "PORT", "CLIENT", "FROM")}
			for _, o := range cfg.Operations {
				l := listedOperation{Operation: o.ID, Service: o.Service, Action: "open", RandomPort: o.RandomPort, Client: o.Client}
				port, client, from := "service", "any", "anywhere"
				l.OpenFor = o.Lasts()
				lasts := cmp.Or(l.OpenFor, "default")
				if o.Close {
					l.Action, lasts = "close", "-"
				}
				if o.RandomPort {
					port = "random"
				}
				if o.Client != "" {
					client = o.Client
				}
				for _, network := range o.From {
					l.From = append(l.From, network.String())
					from = strings.Join(l.From, ",")
				}
				if asJSON {
					if err := env.Out().JSON(l); err != nil {
						return err
					}
				}
				rows = append(rows, output.Row(l.Operation, l.Action, lasts, l.Service, port, client, from))
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
