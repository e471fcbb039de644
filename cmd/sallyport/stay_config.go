package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
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
	if challenge {
		exchange, err := o.exchangeConfig(c.Context(), env, p, false, report)
		cfg.Exchange = &exchange
		return cfg, err
	}
	nonces, err := profile.Nonces(c.Context(), p)
	if err != nil {
		return cfg, err
	}
	other, err := o.elseExchange(c.Context(), env, p, false)
	if err != nil {
		return cfg, err
	}
	cfg.Sequence = &client.Config{
		Else: other, Profile: p, Nonces: nonces, Attempts: o.attempts, Timeout: o.timeout, Family: o.family(),
		Watch: o.watchOf(p), Now: env.Now, Report: report,
	}
	return cfg, nil
}
