package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sallyport/bench"
	"sallyport/bench/report"
	"sallyport/bench/target"
	"sallyport/cmd/internal/cli"
)

func commands(env cli.Env) []*cobra.Command {
	return slices.Concat(
		[]*cobra.Command{
			runCommand(env), compareCommand(env), reportCommand(env), knocktimeCommand(env), connectCommand(env), proofsCommand(env), fleetCommand(env), soakCommand(env), hostileCommand(env),
			insideCommand(env), knocktimeInsideCommand(env), realInsideCommand(env), connectInsideCommand(env), proofsInsideCommand(env), fleetInsideCommand(env), soakInsideCommand(env), hostileInsideCommand(env), sinkCommand(env),
		},
		exchangesTrial().commands(env), insiderTrial().commands(env), carriersTrial().commands(env), looksTrial().commands(env),
	)
}

// runOptions are the flags of run.
type runOptions struct {
	out    string
	server string
	rounds int
	window time.Duration
	quick  bool
}

const (
	minRounds = 1
	maxRounds = 100
	minWindow = 100 * time.Millisecond
	maxWindow = 20 * time.Second
)

func (o runOptions) check() error {
	if o.rounds < minRounds || o.rounds > maxRounds {
		return fmt.Errorf("--rounds: got %d, expected %d to %d", o.rounds, minRounds, maxRounds)
	}
	return checkWindow(o.window)
}

func checkWindow(window time.Duration) error {
	if window < minWindow || window > maxWindow {
		return fmt.Errorf("--window: got %s, expected %s to %s", window, minWindow, maxWindow)
	}
	return nil
}

func (o runOptions) command() string {
	if o.quick {
		return "floodbench run --quick"
	}
	return fmt.Sprintf("floodbench run --rounds %d --window %s", o.rounds, o.window)
}

func runCommand(env cli.Env) *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "run",
		Short: "Flood the server in every way, and write a report",
		Long: `Flood the server in every way, and write a report.

Creates two hosts from network namespaces, joined by a virtual cable. Runs the
server and simple reference receivers on one core of the first host, and floods
them from another core. As root it makes the server's core process the received
packets, floods from inside the kernel, and measures the shield at the driver.
Without root, or without kernel support, it uses the best method available; the
report names it, and what is missing.

Writes report.html, its plots and result.json to the directory of --out, and a
table to the terminal. Fails if counters do not add up, or if honest knocks are
lost although nothing is overloaded. Takes about 15 minutes; with --quick a
minute.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.quick {
				for _, name := range []string{"rounds", "window"} {
					if c.Flags().Changed(name) {
						return cli.Misuse(fmt.Errorf("--quick and --%s exclude each other", name))
					}
				}
				o.rounds, o.window = 1, 400*time.Millisecond
			}
			if err := o.check(); err != nil {
				return cli.Misuse(err)
			}
			return run(c, env, o)
		},
	}
	c.Flags().StringVar(&o.out, "out", "floodbench-result", "the `directory` for the report; created if it does not exist")
	c.Flags().StringVar(&o.server, "server", "", serverUsage)
	c.Flags().IntVar(&o.rounds, "rounds", 5, "how often to measure everything; each round measures compared cases twice")
	c.Flags().DurationVar(&o.window, "window", time.Second, "how long each flood lasts; at the highest load two fifths of that, except where honest knocks pass a shield")
	c.Flags().BoolVar(&o.quick, "quick", false, "make one short round that only checks that everything works")
	return c
}

// run measures in a separate process, which is alone in its namespaces.
func run(c *cobra.Command, env cli.Env, o runOptions) error {
	if err := makeDir(o.out); err != nil { // before the minutes that the run takes
		return err
	}
	server, done, err := findServer(c.Context(), o.server, env.Stderr)
	if err != nil {
		return err
	}
	defer done()
	out, err := runIsolated(c, env, "",
		"inside", server, strconv.Itoa(o.rounds), o.window.String(), strconv.FormatBool(o.quick), o.command())
	if err != nil {
		return err
	}
	res, err := report.Read(strings.NewReader(string(out)))
	if err != nil {
		return fmt.Errorf("read the result: %w", err)
	}
	files := reportFiles(res)
	files["result.json"] = res.Write
	if err := writeFiles(o.out, files); err != nil {
		return err
	}
	if err := res.Table(env.Stdout); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "\nreport: %s\n", filepath.Join(o.out, "report.html"))
	if len(res.Failures) > 0 {
		return fmt.Errorf("the run failed:\n  %s", strings.Join(res.Failures, "\n  "))
	}
	return nil
}

// silentExit is an exit code whose error was already printed.
type silentExit int

func (q silentExit) Error() string { return fmt.Sprintf("exit code %d", int(q)) }

func (q silentExit) ExitCode() int { return int(q) }

// insideCommand is the process that run starts to measure.
func insideCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "inside SERVER ROUNDS WINDOW QUICK COMMAND",
		Hidden: true,
		Args:   cobra.ExactArgs(5),
		RunE: func(c *cobra.Command, args []string) error {
			rounds, err1 := strconv.Atoi(args[1])
			window, err2 := time.ParseDuration(args[2])
			quick, err3 := strconv.ParseBool(args[3])
			if err := errors.Join(err1, err2, err3, (runOptions{rounds: rounds, window: window}).check()); err != nil {
				return cli.Misuse(err)
			}
			progress, clear := progressOn(env.Stderr)
			res, err := bench.Run(c.Context(), bench.Config{
				Server: args[0], Rounds: rounds, Window: window, Quick: quick, Command: args[4], Progress: progress,
			})
			clear()
			if err != nil {
				return err
			}
			return res.Write(env.Stdout)
		},
	}
}

// progressOn shows a progress bar, on a terminal only.
func progressOn(w io.Writer) (progress func(done, of int, what string), clear func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func(int, int, string) {}, func() {}
	}
	bar := progressbar.NewOptions(1, progressbar.OptionSetWriter(w), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetWidth(20), progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true))
	return func(done, of int, what string) {
		bar.ChangeMax(of)
		bar.Describe(fmt.Sprintf("%-50.50s", what))
		bar.Set(done)
	}, func() { bar.Clear() }
}

// sinkCommand is the process of a simple reference receiver.
func sinkCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "sink PORT BUFFER MODE DEVICE",
		Hidden: true,
		Args:   cobra.ExactArgs(4),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := target.ParseSink(args)
			if err != nil {
				return cli.Misuse(err)
			}
			return target.RunSink(cfg, env.Stdin, env.Stdout)
		},
	}
}
