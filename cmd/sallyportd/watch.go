package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

func watchCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "watch",
		Short: "Print each grant of the running server, as it happens",
		Long: `Print each grant of the running server, as it happens, until interrupted: the
time, the client, its address, and the services that it opens. A grant of another
gateway of a fleet has a line when it opens services here. Before the first line, the
command warns about services that the server keeps closed even for clients with a
lease. A service that waits for its program or its opening command has a line when it
opens.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			out := env.Out()
			columns := out.Columns(len(output.TimeFormat), len(wire.Identifier{}), len("255.255.255.255"))
			print := func(g admin.Grant) error { return printGrant(out, columns, g) }
			if asJSON {
				print = func(g admin.Grant) error { return out.JSON(g) }
			}
			return needServer(c.Context(), cfg, func(conn admin.Conn) error {
				return conn.Watch(c.Context(),
					func() {
						env.Err().Printf("watching until interrupted\n")
						if !asJSON {
							for _, f := range checkWaiting(c.Context(), cfg) {
								out.Warning(f.Text, f.Hint)
							}
							columns.Print(output.Header("TIME", "CLIENT", "ADDRESS", "SERVICES", "OPERATION"))
						}
					}, print)
			})
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// printGrant prints a grant as a row.
func printGrant(out *output.Printer, columns *output.Columns, g admin.Grant) error {
	if g.Missed > 0 {
		err := out.Warning(fmt.Sprintf("%d grants are missing here: this command read too slowly", g.Missed), "")
		if err != nil {
			return err
		}
	}
	services := strings.Join(g.Services, ",")
	return columns.Print(output.Row(out.Time(g.Time), g.Client, access.AddressText(g.Address), services, g.Operation))
}
