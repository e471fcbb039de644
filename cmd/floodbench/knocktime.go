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

// knocktimeOptions are the flags of knocktime.
type knocktimeOptions struct {
	modelOnly bool
	json      bool
	rounds    int
}

func (o knocktimeOptions) check() error {
	const most = 100
	if o.rounds < 1 || o.rounds > most {
		return fmt.Errorf("--rounds: got %d, expected 1 to %d", o.rounds, most)
	}
	return nil
}

func knocktimeCommand(env cli.Env) *cobra.Command {
	var o knocktimeOptions
	c := &cobra.Command{
		Use:   "knocktime",
		Short: "Measure challenge–response exchanges on a slow line",
		Long: `Measure challenge–response exchanges on a slow line.

Prints Tables 1 to 3 of "Improved Port Knocking with Strong Authentication"
(2005): the time for a request and a response by knocks, with a challenge between
them, at 64 kbit/s and a round trip of 100 ms. Each row is calculated, and
measured between two network namespaces that are joined by such a line. Fails if
the median of a row differs by more than 10 % from the model, after two more
rounds for that row. A round takes about 20 seconds.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.modelOnly && c.Flags().Changed("rounds") {
				return cli.Misuse(errors.New("--model-only and --rounds exclude each other"))
			}
			if err := o.check(); err != nil {
				return cli.Misuse(err)
			}
			return timeKnocks(c, env, o)
		},
	}
	c.Flags().BoolVar(&o.modelOnly, "model-only", false, "only calculate the model: requires neither Linux nor namespaces")
	c.Flags().BoolVar(&o.json, "json", false, "print the rows as a JSON array")
	c.Flags().IntVar(&o.rounds, "rounds", 1, "how often to measure each row; the result is the median")
	return c
}

func timeKnocks(c *cobra.Command, env cli.Env, o knocktimeOptions) error {
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
		return cli.WithHint(
			fmt.Errorf("results differ by more than 10 %% from the model:\n  %s", strings.Join(off, "\n  ")),
			"if other programs used the processor, run it again, or with more --rounds")
	}
	return nil
}
