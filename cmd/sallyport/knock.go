package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

// knockOptions has the flags of all commands that knock.
type knockOptions struct {
	attempts   int
	timeout    time.Duration
	noWait     bool
	json       bool
	verbose    bool
	ipv4, ipv6 bool
	protocol   string
	carrier    string
	gateway    string
	watch      string
	noWatch    bool
	close      bool                   // --close
	given      func(flag string) bool // whether the command line has a flag

	service     string // of the command line, in place of the profile's
	checkBefore bool   // whether the service is open before the knock
	probe       bool   // as client.ExchangeConfig has it
	direct      bool   // connections do not go through a web server
}

func knockCommand(env cli.Env) *cobra.Command {
	o := knockOptions{checkBefore: true}
	c := &cobra.Command{
		Use:   "knock PROFILE",
		Short: "Knock, and wait until the service answers",
		Long: `Knock, and wait until the service answers.

The server never replies to a knock: only the service shows that it opened. Each
attempt sends a new sequence. The second attempt sends one to the previous minute's
ports before, and the last attempt waits for the next minute's ports, in case another
program holds one of this minute's. After an attempt that opened nothing, the command
moves the nonces ahead, in case the profile was restored from a backup, or another
device uses it. The third such attempt ends with a sequence whose nonces go by the
clock, in case they are further behind.

If the service was open before the knock, the command prints a hint: the server does
not hide the service, or an earlier knock has opened it. To check this, the command
begins one connection to the service before it knocks, and does not wait for it.

On Linux, these connections are half-open: the command resets them when the port has
answered. The program behind the port does not see them, so they do not count as
failed logins. On other systems, and with --watch connection, the command makes a
whole connection, and closes it. --no-watch makes no connections.

A UDP service cannot be watched, and neither can a profile without a service. The
command then makes two attempts (--attempts) one after the other, waits half a second
for ICMP errors, and prints "sent". The exit code is 3, since nothing confirms that the
service opened, and with --no-watch it is 0. It is 1 if ICMP errors show that the knocks
did not arrive.

With the challenge–response protocol (--protocol challenge, or a profile that has
only this protocol), each attempt sends a request and responds to the server's
challenge; both are encoded in the ports of empty packets. If packets were lost on the
way in earlier attempts, the command prints a hint. If the challenge has a
random port, the command does not connect to it: the port accepts one connection,
which is yours.

If packets open nothing, and the profile has https or dns in [challenge], the command
makes the exchange by HTTPS or DNS. It begins with the way that has worked in this network
before. If nothing can confirm the packets, it cannot know that they opened nothing, and
prints a hint. --carrier forces one.

If the profile names gateways, the command makes one attempt at each, in the order of the
profile, and goes on to the next if the service does not open. It begins with the gateway
that has answered last. Only if all fail does it make further attempts. Without a service
to watch, it knocks at all of them. With split = true in the profile, the packets of each
exchange go to all gateways instead, and the service is at the one that sends the
challenge. --gateway forces one.

If the service does not open, the command prints what is certain, because it saw it,
and what is likely, the likeliest first. --json has one word for it, "reason". For a bug
report, add the output of --verbose. It has versions, the state of the clock,
addresses, ports and times, and no secrets.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			start := env.Clock.Monotonic()
			p, err := profiles(c, env).Load(c.Context(), args[0])
			defer profile.End(p)
			var result client.Result
			var bind client.Bind
			if err == nil {
				bind = o.bind(p)
				result, err = o.send(c, env, p, false)
			} else {
				err = cli.Misuse(err)
			}
			unconfirmed := err == nil && o.unconfirmed(p, result)
			if o.json {
				return printJSON(c.Context(), env, result, bind, unconfirmed, err, env.Clock.Monotonic().Sub(start))
			}
			if err != nil {
				return err
			}
			if err := printResult(env, result); err != nil {
				return fmt.Errorf("print the result: %w", err)
			}
			if err := o.remarkBound(env, args[0], p); err != nil {
				return fmt.Errorf("print the result: %w", err)
			}
			if unconfirmed {
				return &exitError{unconfirmedCode}
			}
			return nil
		},
	}
	o.flags(c)
	o.watchFlag(c)
	cli.AddJSONFlag(c, &o.json)
	return c
}

// unconfirmed reports whether the knocks were sent, and nothing shows that they opened a
// service, although the user has not asked for that. An operation without a service may
// open none.
func (o *knockOptions) unconfirmed(p client.Profile, r client.Result) bool {
	challenge, _ := o.usesChallenge(p)
	opens := r.Service.IsValid() || !challenge
	return !r.Watched && !r.SingleUse && opens && o.watchOf(p) != client.WatchNone
}

// send knocks as the flags require. An error before anything was sent is marked as
// misuse.
func (o *knockOptions) send(c *cobra.Command, env cli.Env, p client.Profile, keep bool) (client.Result, error) {
	if err := o.check(); err != nil {
		return client.Result{}, err
	}
	challenge, err := o.usesChallenge(p)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	defer dropNetAdmin()
	if !keep {
		dropNetAdmin() // only the connection that is kept requires it
	}
	progress := newProgress(env, o)
	if o.verbose {
		progress.details(c.Root().Version, p, challenge)
	}
	g, err := o.gatewaysOf(c.Context(), p, progress.report)
	if err != nil {
		return client.Result{}, err
	}
	return g.try(c.Context(), o, func(ctx context.Context, o *knockOptions, p client.Profile) (client.Result, error) {
		if challenge {
			return o.exchange(ctx, env, p, keep, progress.report)
		}
		return o.sequence(ctx, env, p, keep, progress.report)
	})
}
