package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/internal/terminal"
	"sallyport/sessions/client"
)

type knockOptions struct {
	attempts   int
	timeout    time.Duration
	noWait     bool
	json       bool
	verbose    bool
	ipv4, ipv6 bool
	protocol   string
}

func knockCommand(env cli.Env) *cobra.Command {
	var o knockOptions
	c := &cobra.Command{
		Use:   "knock PROFILE",
		Short: "Knock, and watch whether the service opens",
		Long: `Knock, and watch whether the service opens.

The server never answers a knock, so the service itself is the proof. Each
attempt is a new sequence. The last one waits for the next minute's ports, and
moves the nonce ahead by 65,536, in case the profile was restored or copied.

By the challenge–response protocol (--protocol challenge, or a profile that has
nothing else) each attempt is an exchange: a request, the server's challenge,
and the response, in the ports of empty packets. If the challenge names a random
port, nobody watches it: the one connection that it takes is yours.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			start := env.Clock.Monotonic()
			p, err := profile.Load(args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			result, err := o.send(c.Context(), env, p, false)
			if printErr := o.print(env, result, err, env.Clock.Monotonic().Sub(start)); printErr != nil {
				return fmt.Errorf("print the result: %w", printErr)
			}
			return err
		},
	}
	o.flags(c)
	c.Flags().BoolVar(&o.json, "json", false, "print the result as JSON")
	return c
}

func (o *knockOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.IntVar(&o.attempts, "attempts", client.DefaultAttempts, "how many sequences to send at the most")
	f.DurationVar(&o.timeout, "timeout", client.DefaultTimeout, "how long to watch the service after each")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait for the next minute's ports")
	f.StringVar(&o.protocol, "protocol", "", "\"sequence\" or \"challenge\" (default the first of them that the profile has)")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "tell what is sent")
	f.BoolVarP(&o.ipv4, "ipv4", "4", false, "knock over IPv4 only")
	f.BoolVarP(&o.ipv6, "ipv6", "6", false, "knock over IPv6 only")
}

// send knocks as the options say. Errors for which nothing was sent are
// marked as misuse.
func (o *knockOptions) send(ctx context.Context, env cli.Env, p client.Profile, keep bool) (client.Result, error) {
	switch {
	case o.attempts < 1:
		return client.Result{}, cli.Misuse(fmt.Errorf("--attempts: expected a whole number from 1, got %d", o.attempts))
	case o.timeout <= 0:
		return client.Result{}, cli.Misuse(fmt.Errorf("--timeout: expected a time above 0, got %s", o.timeout))
	case o.ipv4 && o.ipv6:
		return client.Result{}, cli.Misuse(errors.New("-4 and -6 exclude each other; without either, both families will do"))
	}
	second, err := o.second(p)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	if second {
		return o.exchange(ctx, env, p, keep)
	}
	nonces, err := profile.Nonces(p)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	cfg := client.Config{
		Profile: p, Nonces: nonces, Attempts: o.attempts, Timeout: o.timeout, NoWait: o.noWait, Keep: keep, Now: env.Now,
		Report: func(e client.Event) { o.report(env, e) },
	}
	switch {
	case o.ipv4:
		cfg.Family = client.IPv4
	case o.ipv6:
		cfg.Family = client.IPv6
	}
	result, err := client.Knock(ctx, cfg)
	var exhausted *client.ExhaustedError
	var damaged *client.DamagedError
	var nonce *client.NonceError
	if errors.As(err, &exhausted) || errors.As(err, &damaged) || errors.As(err, &nonce) {
		err = cli.Misuse(err)
	}
	return result, err
}

// report tells of progress on standard error.
func (o *knockOptions) report(env cli.Env, e client.Event) {
	switch e := e.(type) {
	case client.Sent:
		if o.verbose {
			fmt.Fprintf(env.Stderr, "attempt %d of %d: %d knocks to %s, UDP ports %s, nonces from %d\n",
				e.Attempt, o.attempts, len(e.Packets), e.Address, portList(e.Packets), e.Base)
		}
	case client.Requested:
		if o.verbose {
			fmt.Fprintf(env.Stderr, "attempt %d of %d: a request of %d packets to %s, UDP ports %d to %d\n", e.Attempt, o.attempts, e.Packets, e.Address, e.First, e.Last)
		}
	case client.Answered:
		if o.verbose {
			fmt.Fprintf(env.Stderr, "the challenge came after %s; this computer is %s to the server; a response of %d packets\n", e.Took.Round(time.Millisecond), e.Public, e.Packets)
		}
	case client.Waiting:
		fmt.Fprintf(env.Stderr, "no answer yet; waiting %s for the next minute's ports (--no-wait skips this)\n", e.For.Round(time.Second))
	}
}

// outcome is what --json prints. Fields are only ever added.
type outcome struct {
	Opened    bool     `json:"opened"`   // the service answered
	Watched   bool     `json:"watched"`  // false: the profile names no service, so nobody knows
	Address   string   `json:"address"`  // where the knocks went
	Service   string   `json:"service"`  // address and port that answered
	Attempts  int      `json:"attempts"` // sequences sent
	ElapsedMS int64    `json:"elapsed_ms"`
	Once      bool     `json:"one_connection,omitempty"` // the service takes one, which nobody has tried
	Error     string   `json:"error,omitempty"`
	Hints     []string `json:"hints,omitempty"`
}

func (o *knockOptions) print(env cli.Env, r client.Result, err error, elapsed time.Duration) error {
	if o.json {
		out := outcome{Attempts: r.Attempts, ElapsedMS: elapsed.Milliseconds()}
		if err == nil {
			out.Watched, out.Once = r.Service.IsValid() && !r.SingleUse, r.SingleUse
			out.Opened = out.Watched
			out.Address = r.Address.String()
			if r.Service.IsValid() {
				out.Service = r.Service.String()
			}
			return json.NewEncoder(env.Stdout).Encode(out)
		}
		out.Error = terminal.Lines(err.Error())
		var offline *client.OfflineError
		if errors.As(err, &offline) {
			out.Watched, out.Attempts, out.Hints = true, offline.Attempts, offline.Hints
			for i, h := range out.Hints {
				out.Hints[i] = terminal.Lines(h)
			}
		}
		return json.NewEncoder(env.Stdout).Encode(out)
	}
	switch {
	case err != nil:
		return nil
	case !r.Service.IsValid():
		_, err = fmt.Fprintf(env.Stdout, "knocked at %s; the profile names no service to watch\n", r.Address)
	case r.SingleUse:
		_, err = fmt.Fprintf(env.Stdout, "open for one connection: %s\n", r.Service)
	case r.Attempts == 1:
		_, err = fmt.Fprintf(env.Stdout, "open: %s\n", r.Service)
	default:
		_, err = fmt.Fprintf(env.Stdout, "open: %s (attempt %d)\n", r.Service, r.Attempts)
	}
	return err
}

func portList(packets []client.Packet) string {
	ports := make([]string, len(packets))
	for i, p := range packets {
		ports[i] = strconv.Itoa(int(p.Port))
	}
	return strings.Join(ports, ",")
}
