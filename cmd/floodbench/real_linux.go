package main

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/bench/knocktime"
	"sallyport/bench/knocktime/real"
	"sallyport/cmd/internal/cli"
)

// timePrograms measures in a separate process, which is root in its namespaces.
func timePrograms(c *cobra.Command, env cli.Env, o knocktimeOptions) error {
	server, done, err := findServer(c.Context(), o.real.server, env.Stderr)
	if err != nil {
		return err
	}
	defer done()
	client, done, err := findProgram(c.Context(), clientName, "--client", o.real.client, env.Stderr)
	if err != nil {
		return err
	}
	defer done()
	out, err := runIsolated(c, env, "\n"+modelHint, "knocktime-real-inside",
		server, client, strconv.Itoa(o.rounds), strconv.Itoa(o.real.trials), strconv.FormatBool(o.real.quick))
	if err != nil {
		return err
	}
	var result real.Result
	if err := gob.NewDecoder(bytes.NewReader(out)).Decode(&result); err != nil {
		return fmt.Errorf("read the result: %w", err)
	}
	if o.json {
		err = json.NewEncoder(env.Stdout).Encode(result)
	} else {
		err = result.Text(env.Stdout)
	}
	if err != nil {
		return err
	}
	if failures := result.Failures(); len(failures) > 0 {
		return cli.WithHint(fmt.Errorf("the run failed:\n  %s", strings.Join(failures, "\n  ")),
			"if other programs used the processor, run it again")
	}
	return nil
}

// realInsideCommand is the process that knocktime --real starts to measure. It creates
// its own networks, wherever it runs.
func realInsideCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "knocktime-real-inside SERVER CLIENT ROUNDS TRIALS QUICK",
		Hidden: true,
		Args:   cobra.ExactArgs(5),
		RunE: func(c *cobra.Command, args []string) error {
			rounds, err1 := strconv.Atoi(args[2])
			trials, err2 := strconv.Atoi(args[3])
			quick, err3 := strconv.ParseBool(args[4])
			o := knocktimeOptions{rounds: rounds, real: realOptions{trials: trials}}
			if err := errors.Join(err1, err2, err3, o.check()); err != nil {
				return cli.Misuse(err)
			}
			cfg := real.Config{Server: args[0], Client: args[1], Rounds: rounds, Trials: trials}
			if quick {
				cfg.Rows, cfg.Curves = real.Quick()
			} else {
				cfg.Rows, cfg.Curves = knocktime.Rows(), real.AllCurves()
			}
			progress, clear := progressOn(env.Stderr)
			cfg.Progress = progress
			result, err := real.Run(c.Context(), cfg)
			clear()
			if err != nil {
				return err
			}
			return gob.NewEncoder(env.Stdout).Encode(result)
		},
	}
}
