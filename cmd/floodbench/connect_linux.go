package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

// connectOptions are the flags of connect.
type connectOptions struct {
	json, quick    bool
	tries          int
	server, client string
}

// quickTries is the number of tries with --quick.
const quickTries = 3

func (o *connectOptions) resolve(changed func(name string) bool) error {
	if changed("quick") && changed("tries") {
		return fmt.Errorf("--quick and --tries exclude each other")
	}
	if o.quick {
		o.tries = quickTries
	}
	const most = 10_000
	if o.tries < 1 || o.tries > most {
		return fmt.Errorf("--tries: got %d, expected 1 to %d", o.tries, most)
	}
	return nil
}

func connectCommand(env cli.Env) *cobra.Command {
	var o connectOptions
	c := &cobra.Command{
		Use:   "connect",
		Short: "Measure how long a client waits for its service",
		Long: `Measure how long a client waits for its service.

Runs sallyportd with each type and look of a service, and measures the time to the
first byte of the service: from the last knock, and from the start of "sallyport
connect". A plain TCP connection to an open port of the same host runs beside each.
The links are the loopback, a direct one, and one with a round trip of 20 ms. The
firewall lets the loopback pass, so its services are not measured there.

Prints the medians, and by how much they are above that of the plain connections.
With --json, it prints the ratios too. Fails if a client does not reach its service;
a goal that is missed is printed, and is no failure. Takes about five minutes; with
--quick, which measures some services over one link, seconds.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.resolve(c.Flags().Changed); err != nil {
				return cli.Misuse(err)
			}
			return measureConnections(c, env, o)
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	c.Flags().BoolVar(&o.quick, "quick", false, "only show that everything works")
	c.Flags().IntVar(&o.tries, "tries", 50, "how often to connect to each service")
	c.Flags().StringVar(&o.server, "server", "", serverUsage)
	c.Flags().StringVar(&o.client, "client", "", "the `path` of the sallyport to test")
	return c
}
