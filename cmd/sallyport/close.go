package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

func closeCommand(env cli.Env) *cobra.Command {
	var o knockOptions
	c := &cobra.Command{
		Use:        "close PROFILE",
		SuggestFor: []string{"lock", "shut", "end"},
		Short:      "Close all that this client has open",
		Long: `Close all that this client has open at the server: its leases of every service, at
whatever address it got them, also those without an end. Connections end if the
service has connections = "cut". Leases of other clients stay, also those for the
same address.

The command sends sequences like those of "knock", which close instead. The server
never replies, and it ignores them if the client has nothing open. So the command
prints "sent", and exits with 0, unless ICMP errors show that they did not arrive.

If the profile names gateways, the sequences go to all of them, or to that of --gateway.

A profile of an operation only cannot close: use the operation that closes, with
"sallyport knock".`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			start := env.Clock.Monotonic()
			dropNetAdmin()
			p, err := profiles(c, env).Load(c.Context(), args[0])
			defer profile.End(p)
			if err == nil {
				err = errors.Join(o.check(), canClose(args[0], p))
			}
			var result client.Result
			if err != nil {
				err = cli.Misuse(err)
			} else {
				progress := newProgress(env, &o)
				if o.verbose {
					progress.details(c.Root().Version, p, false)
				}
				result, err = o.closeAll(c.Context(), env, p, progress.report)
			}
			if o.json {
				return printJSON(c.Context(), env, result, client.BindAddress, false, err, env.Clock.Monotonic().Sub(start))
			}
			if err != nil {
				return err
			}
			to := result.Address.String()
			if n := len(p.Carriers()); n > 1 && o.gateway == "" {
				to = fmt.Sprintf("%d gateways", n)
			}
			return env.Out().Labelled(output.Cell{Text: "sent", Colour: output.Green}, "sequences that close, to "+to)
		},
	}
	o.timeout = client.DefaultTimeout
	o.closingFlags(c)
	cli.AddJSONFlag(c, &o.json)
	return c
}

// closingFlags adds the flags of knocks that have a meaning for closing.
func (o *knockOptions) closingFlags(c *cobra.Command) {
	var all cobra.Command
	o.flags(&all)
	all.Flags().VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "attempts":
			f.Usage = fmt.Sprintf("the number of attempts (default %d)", client.DefaultUnwatched)
			c.Flags().AddFlag(f)
		case "verbose", "ipv4", "ipv6", "gateway":
			c.Flags().AddFlag(f)
		}
	})
	o.given = c.Flags().Changed
}

// canClose returns an error if a profile cannot close.
func canClose(name string, p client.Profile) error {
	if p.HasSequence() {
		return nil
	}
	return cli.WithHint(fmt.Errorf("profile %s has the challenge–response protocol only, which closes by a separate operation", name),
		"use the profile of an operation with action = \"close\"")
}

// closeAll sends the sequences that close, to all gateways of the profile at once: the
// client may have something open at each. If it cannot send to some, it prints that.
func (o *knockOptions) closeAll(ctx context.Context, env cli.Env, p client.Profile, report func(client.Event)) (client.Result, error) {
	var mu sync.Mutex // of report
	g, err := o.gatewaysOf(ctx, p, nil)
	if err != nil {
		return client.Result{}, err
	}
	results, errs := make([]client.Result, len(g.profiles)), make([]error, len(g.profiles))
	var sending sync.WaitGroup
	for i, p := range g.profiles {
		nonces, err := profile.Nonces(ctx, p)
		if err != nil {
			errs[i] = cli.Misuse(err)
			continue
		}
		sending.Go(func() {
			result, err := client.Close(ctx, client.Config{
				Profile: p, Nonces: nonces, Attempts: o.attempts, Family: o.family(), Now: env.Now,
				Report: func(e client.Event) {
					mu.Lock()
					defer mu.Unlock()
					if report != nil {
						report(e)
					}
				},
			})
			result.Gateway = g.Names[i]
			results[i], errs[i] = result, misuseOfNonces(err)
		})
	}
	sending.Wait()
	if len(p.Carriers()) > 1 {
		nextSecond(ctx, env.Now)
	}
	if len(errs) == 1 {
		return results[0], errs[0]
	}
	sent := slices.Index(errs, nil)
	if sent < 0 {
		return results[0], errors.Join(errs...)
	}
	for i, err := range errs {
		if err != nil {
			env.Err().Warning("gateway "+g.Names[i]+": "+err.Error(), "what is open there ends by itself, unless it has no end")
		}
	}
	return results[sent], nil
}

// nextSecond waits until the next second of the wall clock begins, or ctx ends. Gateways
// compare attempts with two keys by their timestamps, and of the same second, the closing
// one counts as later: a knock right after "close" would open at its own gateway only
// (sessions/fleet/grants/GRANTS.md, rule 6).
func nextSecond(ctx context.Context, now func() time.Time) {
	begin := now()
	select {
	case <-time.After(begin.Truncate(time.Second).Add(time.Second).Sub(begin)):
	case <-ctx.Done():
	}
}

// closeFlag adds --close to a command that knocks.
func (o *knockOptions) closeFlag(c *cobra.Command) {
	c.Flags().BoolVar(&o.close, "close", false, "at the end, close all that this client has open, as \"sallyport close\" does")
}

// checkClose returns an error if --close is given, and the profile cannot close.
func (o *knockOptions) checkClose(name string, p client.Profile) error {
	if !o.close {
		return nil
	}
	return canClose(name, p)
}

// closingTime is how long a command that ends may take to close.
const closingTime = 5 * time.Second

// closeAtEnd closes what the client has open, with --close, also if the command was
// interrupted. A failure is a warning: the command has done its work.
func (o *knockOptions) closeAtEnd(ctx context.Context, env cli.Env, p client.Profile) {
	if !o.close {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closingTime)
	defer cancel()
	quiet := *o
	quiet.attempts = 0
	if _, err := quiet.closeAll(ctx, env, p, nil); err != nil {
		env.Err().Warning("failed to close: "+err.Error(), "the leases end by themselves, unless they have no end")
	}
}
