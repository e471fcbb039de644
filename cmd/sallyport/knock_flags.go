package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
)

func (o *knockOptions) flags(c *cobra.Command) {
	f := c.Flags()
	o.given = f.Changed
	f.IntVar(&o.attempts, "attempts", 0, fmt.Sprintf("the maximum number of attempts (default %d, or %d without a service to watch)",
		client.DefaultAttempts, client.DefaultUnwatched))
	f.DurationVar(&o.timeout, "timeout", client.DefaultTimeout, "how long to wait for the service after each attempt")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait for the next minute's ports")
	f.StringVar(&o.protocol, "protocol", "",
		"\"sequence\" or \"challenge\" (default \"sequence\", if the profile has it)")
	f.StringVar(&o.carrier, "carrier", carrierAuto,
		"\"udp\", \"https\" or \"dns\": what carries the messages; \"auto\" tries them in this order, as far as the profile has them")
	f.StringVar(&o.gateway, "gateway", "", "the `name` of the only gateway of the profile at which to knock (default: one after the other)")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print details for a bug report, without secrets")
	f.BoolVarP(&o.ipv4, "ipv4", "4", false, "use IPv4 only")
	f.BoolVarP(&o.ipv6, "ipv6", "6", false, "use IPv6 only")
}

// watchFlag adds --watch. With connect, the connection is the user's, and always whole.
func (o *knockOptions) watchFlag(c *cobra.Command) {
	c.Flags().StringVar(&o.watch, "watch", "",
		"how to watch the service: \"syn\", \"connection\" or \"none\" (default \"syn\", or that of the profile)")
	c.Flags().BoolVar(&o.noWatch, "no-watch", false, "only send: --watch none")
}

// family returns the address family of the flags.
func (o *knockOptions) family() client.Family {
	switch {
	case o.ipv4:
		return client.IPv4
	case o.ipv6:
		return client.IPv6
	}
	return client.AnyFamily
}

// check returns an error if the flags contradict each other, or their values are not
// valid. It is marked as misuse.
func (o *knockOptions) check() error {
	switch {
	case o.attempts < 0 || o.attempts == 0 && o.given("attempts"):
		return cli.Misuse(fmt.Errorf("--attempts: expected a whole number from 1, got %d", o.attempts))
	case o.timeout <= 0:
		return cli.Misuse(fmt.Errorf("--timeout: expected a time above 0, got %s", o.timeout))
	case o.ipv4 && o.ipv6:
		return cli.Misuse(errors.New("expected -4 or -6, got both; omit both to use both families"))
	case o.noWatch && o.given("watch"):
		return cli.Misuse(errors.New("expected --watch or --no-watch, got both"))
	case !client.Watch(o.watch).Valid():
		return cli.Misuse(fmt.Errorf("--watch: expected \"syn\", \"connection\" or \"none\", got %q", o.watch))
	}
	return o.checkCarrier()
}
