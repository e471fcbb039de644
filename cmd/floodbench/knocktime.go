package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bench/knocktime"
	"sallyport/cmd/internal/cli"
)

const serverUsage = "the `path` of the sallyportd to test " +
	"(default: next to this program, built from the module of the current directory, or in PATH)"

// knocktimeOptions are the flags of knocktime.
type knocktimeOptions struct {
	modelOnly bool
	json      bool
	rounds    int
	real      realOptions
}

// realOptions are the flags of knocktime --real.
type realOptions struct {
	on, quick      bool
	trials         int
	server, client string
}

func (o knocktimeOptions) check() error {
	const most = 100
	if o.rounds < 1 || o.rounds > most {
		return fmt.Errorf("--rounds: got %d, expected 1 to %d", o.rounds, most)
	}
	const mostTrials = 10_000
	if o.real.trials < 1 || o.real.trials > mostTrials {
		return fmt.Errorf("--trials: got %d, expected 1 to %d", o.real.trials, mostTrials)
	}
	return nil
}

// realRounds is the default of --rounds with --real.
const realRounds = 5

// resolve fills in the defaults that depend on other flags. It returns an error if
// flags exclude each other.
func (o *knocktimeOptions) resolve(changed func(name string) bool) error {
	for _, pair := range [][2]string{
		{"model-only", "rounds"}, {"model-only", "real"}, {"quick", "rounds"}, {"quick", "trials"},
	} {
		if changed(pair[0]) && changed(pair[1]) {
			return fmt.Errorf("--%s and --%s exclude each other", pair[0], pair[1])
		}
	}
	for _, name := range []string{"quick", "trials", "server", "client"} {
		if changed(name) && !o.real.on {
			return fmt.Errorf("--%s requires --real", name)
		}
	}
	switch {
	case o.real.quick:
		o.rounds, o.real.trials = 1, 20
	case o.real.on && !changed("rounds"):
		o.rounds = realRounds
	}
	return o.check()
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
rounds for that row. A round takes about 20 seconds.

With --real, the shipped programs make the exchanges: sallyportd, with a
configuration for each row, and "sallyport knock". Rows that "sallyportd check"
rejects are printed with its reason. Then many clients knock at a time, while the
line between them and the server reorders, loses or duplicates packets: the
command prints the shares of exchanges that fail at the first attempt, by the
length of a restart (section 7.2, footnote 5), by the delay between packets (Table
3), and by the encoding, beside a prediction. Fails if a row was not measured, or
if its median differs by more than 10 % from the time that the line needs. It takes
about 8 minutes; with --quick, which measures one row and two points, seconds.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.resolve(c.Flags().Changed); err != nil {
				return cli.Misuse(err)
			}
			if o.real.on {
				return timePrograms(c, env, o)
			}
			return timeKnocks(c, env, o)
		},
	}
	c.Flags().BoolVar(&o.modelOnly, "model-only", false, "only calculate the model: requires neither Linux nor namespaces")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	c.Flags().IntVar(&o.rounds, "rounds", 1, "how often to measure each row; the result is the median (default 5 with --real)")
	c.Flags().BoolVar(&o.real.on, "real", false, "measure sallyportd and sallyport, and draw curves of failures")
	c.Flags().BoolVar(&o.real.quick, "quick", false, "with --real: only show that everything works, by one row and two points")
	c.Flags().IntVar(&o.real.trials, "trials", 100, "with --real: the number of exchanges for each point of a curve")
	c.Flags().StringVar(&o.real.server, "server", "", "with --real: "+serverUsage)
	c.Flags().StringVar(&o.real.client, "client", "", "with --real: the `path` of the sallyport to test")
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
