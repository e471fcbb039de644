package main

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bench/proofs"
	"sallyport/cmd/internal/cli"
)

// proofsOptions are the flags of proofs.
type proofsOptions struct {
	json, quick bool
	rounds      int
	window      time.Duration
	server      string
}

func (o *proofsOptions) resolve(changed func(name string) bool) error {
	if o.quick {
		for _, name := range []string{"rounds", "window"} {
			if changed(name) {
				return fmt.Errorf("--quick and --%s exclude each other", name)
			}
		}
		o.rounds, o.window = 1, 200*time.Millisecond
	}
	return o.check()
}

func (o *proofsOptions) check() error {
	if o.rounds < minRounds || o.rounds > maxRounds {
		return fmt.Errorf("--rounds: got %d, expected %d to %d", o.rounds, minRounds, maxRounds)
	}
	return checkWindow(o.window)
}

func proofsCommand(env cli.Env) *cobra.Command {
	var o proofsOptions
	c := &cobra.Command{
		Use:   "proofs",
		Short: "Measure what the proof of a connection costs",
		Long: `Measure what the proof of a connection costs.

Runs sallyportd with two proxies to the same program, on one core: the connections of
one prove themselves (bind = "connection"), those of the other do not. Measures short
connections, one and 64 at a time, with the server's state in memory, with relaxed
durability, and on the disk; and bytes over long connections. The windows of the two
take turns. A pair in which other machines took more than 12 % of a core is discarded.

Prints the medians, the ratios, and the server's processor time for a connection.
Fails if a connection fails; a goal that is missed is printed, and is no failure.
Takes about five minutes; with --quick, seconds.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.resolve(c.Flags().Changed); err != nil {
				return cli.Misuse(err)
			}
			return measureProofs(c, env, o)
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	c.Flags().BoolVar(&o.quick, "quick", false, "only show that everything works")
	c.Flags().IntVar(&o.rounds, "rounds", 30, "how often to measure everything")
	c.Flags().DurationVar(&o.window, "window", 400*time.Millisecond, "how long each measurement of a service lasts")
	c.Flags().StringVar(&o.server, "server", "", serverUsage)
	return c
}

// measureProofs measures in a separate process, which is root in its namespaces.
func measureProofs(c *cobra.Command, env cli.Env, o proofsOptions) error {
	server, done, err := findServer(c.Context(), o.server, env.Stderr)
	if err != nil {
		return err
	}
	defer done()
	out, err := runIsolated(c, env, "", "proofs-inside", server, strconv.Itoa(o.rounds), o.window.String())
	if err != nil {
		return err
	}
	var result proofs.Result
	if err := gob.NewDecoder(bytes.NewReader(out)).Decode(&result); err != nil {
		return fmt.Errorf("read the result: %w", err)
	}
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(result)
	}
	return result.Text(env.Stdout)
}

// proofsInsideCommand is the process that proofs starts to measure.
func proofsInsideCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "proofs-inside SERVER ROUNDS WINDOW",
		Hidden: true,
		Args:   cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			rounds, err1 := strconv.Atoi(args[1])
			window, err2 := time.ParseDuration(args[2])
			o := proofsOptions{rounds: rounds, window: window}
			if err := errors.Join(err1, err2, o.check()); err != nil {
				return cli.Misuse(err)
			}
			progress, clear := progressOn(env.Stderr)
			result, err := proofs.Run(c.Context(), proofs.Config{Server: args[0], Rounds: rounds, Window: window, Progress: progress})
			clear()
			if err != nil {
				return err
			}
			return gob.NewEncoder(env.Stdout).Encode(result)
		},
	}
}
