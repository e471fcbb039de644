package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bench/knocktime"
	"sallyport/cmd/internal/cli"
)

// timing are the flags of knocktime.
type timing struct {
	modelOnly bool
	json      bool
	rounds    int
}

func (o timing) check() error {
	const most = 100
	if o.rounds < 1 || o.rounds > most {
		return fmt.Errorf("--rounds %d: it is 1 to %d", o.rounds, most)
	}
	return nil
}

func knocktimeCommand(env cli.Env) *cobra.Command {
	var o timing
	c := &cobra.Command{
		Use:   "knocktime",
		Short: "Time exchanges of knocks and a challenge on a slow line",
		Long: `Time exchanges of knocks and a challenge on a slow line.

Prints Tables 1 to 3 of "Improved Port Knocking with Strong Authentication"
(2005): how long a request and a response by knocks take, with a challenge
between them, at 64 kbit/s and a round trip of 100 ms. Each row is calculated,
and measured between two hosts of network namespaces that are joined by such a
line. Fails if a row's median is more than 10 % off the model, after two more
rounds for that row. Takes about 20 seconds a round.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.modelOnly && c.Flags().Changed("rounds") {
				return cli.Misuse(errors.New("--model-only measures nothing: it has no --rounds"))
			}
			if err := o.check(); err != nil {
				return cli.Misuse(err)
			}
			return timeKnocks(c, env, o)
		},
	}
	c.Flags().BoolVar(&o.modelOnly, "model-only", false, "calculate, measure nothing: needs no Linux and no namespaces")
	c.Flags().BoolVar(&o.json, "json", false, "print the rows as an array of JSON")
	c.Flags().IntVar(&o.rounds, "rounds", 1, "how often each row is measured; the median counts")
	return c
}

func timeKnocks(c *cobra.Command, env cli.Env, o timing) error {
	var measured []time.Duration
	if !o.modelOnly {
		var err error
		if measured, err = measureKnocks(c, env, o.rounds); err != nil {
			return err
		}
	}
	results := knocktime.Results(measured)
	write := knocktime.WriteText
	if o.json {
		write = knocktime.WriteJSON
	}
	if err := write(env.Stdout, results); err != nil {
		return err
	}
	var off []string
	for _, r := range results {
		if r.Off() {
			off = append(off, fmt.Sprintf("%s: %.4f s", r, r.Measured.Seconds()))
		}
	}
	if len(off) > 0 {
		return cli.WithHint(fmt.Errorf("measured more than 10 %% off the model:\n  %s", strings.Join(off, "\n  ")),
			"if something else has the processor, try again, or with more --rounds")
	}
	return nil
}
