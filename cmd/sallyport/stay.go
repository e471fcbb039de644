package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
	"sallyport/sessions/client/stay"
)

func stayCommand(env cli.Env) *cobra.Command {
	var o knockOptions
	var every time.Duration
	c := &cobra.Command{
		Use:   "stay PROFILE",
		Short: "Keep the service open until interrupted",
		Long: `Keep the service open until interrupted.

The command knocks, and knocks again before the server closes the service: twice in the
time of the profile's open_for, and at least every two minutes. If the profile has no
open_for, the command assumes 10 seconds, the server's default; --every sets another
time. It also knocks when the address or the network of this computer changes, and when
the computer resumes from sleep.

If a knock fails, the command prints that once, and goes on. The pauses grow to a
minute, and to five after about an hour; a change of the network ends a pause. Wrong usage, a profile that does not allow
this, and a nonce file that cannot be used end the command with exit code 2. SIGINT,
SIGTERM or SIGHUP ends it with exit code 0. The service then closes at the end of its lease.

While the service is open, the command watches it only on Linux, where no program sees
the watch. On other systems it only knocks.

With --json, each event is an object on one line: "open" (the service opened: at the
start, after a change, or again after a failure), "renewed", "moving" (the network
changed, or the computer resumed; a knock follows), "failed" (once, until the service
opens again) and "stopped". Later versions may add events and fields.

If the port of the service rotates, each minute's knocks open that minute's port, and
the command prints the new port. The former one closes at the end of its lease.`,
		Example: `  sallyport stay work
  sallyport stay work --json | while read -r event; do …; done`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			defer endAtHangup(c)()
			p, err := profiles(c, env).Load(c.Context(), args[0])
			defer profile.End(p)
			if err != nil {
				return cli.Misuse(err)
			}
			if err := o.check(); err != nil {
				return err
			}
			if err := checkEvery(c, "every", every); err != nil {
				return err
			}
			cfg, err := o.stayConfig(c, env, p, every)
			if err == nil {
				err = o.checkClose(args[0], p)
			}
			if err != nil {
				return cli.Misuse(err)
			}
			dropNetAdmin()
			lines := newEventLines(env, o.json)
			cfg.Report = lines.report
			err = stay.Run(c.Context(), cfg)
			o.closeAtEnd(c.Context(), env, p)
			interrupted := c.Context().Err() != nil
			if interrupted {
				lines.stopped()
			}
			if printErr := lines.close(); printErr != nil {
				return fmt.Errorf("print the events: %w", printErr)
			}
			if interrupted {
				return nil
			}
			return cli.Misuse(err)
		},
	}
	o.stayFlags(c)
	o.closeFlag(c)
	c.Flags().DurationVar(&every, "every", 0, "knock again each `time` (default: twice in the profile's open_for)")
	cli.AddJSONFlag(c, &o.json)
	return c
}

// stayOpen keeps the service open until the caller calls end. Since is when the knock
// that opened it began, by the clock Boot.
func (o *knockOptions) stayOpen(
	c *cobra.Command, env cli.Env, p client.Profile, every time.Duration, since time.Time,
) (end func(), err error) {
	quiet := *o
	quiet.verbose = false
	cfg, err := quiet.stayConfig(c, env, p, every)
	if err != nil {
		return nil, err
	}
	cfg.Since = since
	warned := false
	cfg.Report = func(e stay.Event) {
		switch e := e.(type) {
		case stay.Opened:
			warned = false
		case stay.Failed:
			if e.Closed && !warned {
				warned = true
				env.Err().Warning("later connections may not get in: "+e.Err.Error(), "the client goes on to knock")
			}
		}
	}
	ctx, cancel := context.WithCancel(c.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := stay.Run(ctx, cfg); err != nil && ctx.Err() == nil {
			env.Err().Warning("later connections may not get in: "+err.Error(), "")
		}
	}()
	return func() {
		cancel()
		<-done
	}, nil
}
