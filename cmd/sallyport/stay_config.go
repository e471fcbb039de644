package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
	"sallyport/sessions/client/stay"
)

// stayFlags adds the flags of knocks except for --no-wait: no knock waits for the next
// minute, since a later one uses its ports.
func (o *knockOptions) stayFlags(c *cobra.Command) {
	var all cobra.Command
	o.flags(&all)
	all.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "no-wait" {
			c.Flags().AddFlag(f)
		}
	})
	o.watchFlag(c)
	o.given = c.Flags().Changed
}

// checkEvery returns an error if the flag for the time between two knocks has an invalid
// value.
func checkEvery(c *cobra.Command, flag string, every time.Duration) error {
	if c.Flags().Changed(flag) && every < stay.MinEvery {
		return cli.Misuse(fmt.Errorf("--%s: expected a time from %s, got %s", flag, stay.MinEvery, every))
	}
	return nil
}

// stayConfig returns how to keep the service of a profile open.
func (o *knockOptions) stayConfig(c *cobra.Command, env cli.Env, p client.Profile, every time.Duration) (stay.Config, error) {
	cfg := stay.Config{Every: every, Clock: env.Clock}
	challenge, err := o.usesChallenge(p)
	if err != nil {
		return cfg, err
	}
	var report func(client.Event)
	if o.verbose {
		progress := newProgress(env, o)
		progress.details(c.Root().Version, p, challenge)
		report = progress.report
	}
	g, err := o.gatewaysOf(c.Context(), p, report)
	if err != nil {
		return cfg, err
	}
	cfg.Gateways = g.Gateways
	cfg.Sequences, cfg.Exchanges, err = o.configs(c.Context(), env, g, challenge, false, report)
	return cfg, err
}
