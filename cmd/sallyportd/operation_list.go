package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/admin"
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
	Uses       int      `json:"uses,omitempty"`     // its limit; 0: none
	UsesLeft   *int     `json:"uses_left,omitempty"`
	// UsesUnknown: the record of uses was lost, so none is left.
	UsesUnknown bool `json:"uses_unknown,omitempty"`
	PublicKeys  bool `json:"public_keys,omitempty"` // instead of a secret
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
			uses, err := usesOf(c.Context(), cfg)
			if err != nil {
				return err
			}
			header := []string{"OPERATION", "ACTION", "FOR", "SERVICE", "PORT", "CLIENT", "FROM"}
			if uses != nil {
				header = append(header, "USES LEFT")
			}
			signed := slices.ContainsFunc(cfg.Operations, func(o config.Operation) bool { return o.Signed })
			if signed {
				header = append(header, "BY")
			}
			rows := [][]output.Cell{output.Header(header...)}
			for _, o := range cfg.Operations {
				l := listedOperation{Operation: o.ID, Service: o.Service, Action: "open", RandomPort: o.RandomPort, Client: o.Client, PublicKeys: o.Signed}
				port, client, from, by := "service", "any", "anywhere", "secret"
				if o.Signed {
					by = "public keys"
				}
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
				l.addUses(o.Uses, uses)
				if asJSON {
					if err := env.Out().JSON(l); err != nil {
						return err
					}
				}
				row := []string{l.Operation, l.Action, lasts, l.Service, port, client, from}
				if uses != nil {
					row = append(row, usesText(l))
				}
				if signed {
					row = append(row, by)
				}
				rows = append(rows, output.Row(row...))
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

// addUses adds how often the operation may still be used. A running server that has not
// read the configuration again knows nothing about a new limit.
func (l *listedOperation) addUses(limit int, all map[string]admin.Uses) {
	if l.Uses = limit; limit == 0 {
		return
	}
	if u, ok := all[l.Operation]; ok {
		l.UsesLeft, l.UsesUnknown = &u.Left, u.Unknown
	}
}

// usesText returns how often an operation may still be used, for people.
func usesText(l listedOperation) string {
	switch {
	case l.Uses == 0:
		return "unlimited"
	case l.UsesLeft == nil:
		return "not reloaded"
	case l.UsesUnknown:
		return "none (record lost)"
	}
	return fmt.Sprintf("%d of %d", *l.UsesLeft, l.Uses)
}
