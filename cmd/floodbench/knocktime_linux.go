package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bench/knocktime"
	"sallyport/cmd/internal/cli"
)

const modelHint = `to calculate the model without a network, run "floodbench knocktime --model-only"`

// measureKnocks measures in a separate process, which is root in its namespaces.
func measureKnocks(c *cobra.Command, env cli.Env, rounds int) (measured []time.Duration, err error) {
	out, err := runIsolated(c, env, "\n"+modelHint, "knocktime-inside", strconv.Itoa(rounds))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(out, &measured); err != nil {
		return nil, fmt.Errorf("read the measured times: %w", err)
	}
	return measured, nil
}

// knocktimeInsideCommand is the process that knocktime starts to measure. It
// creates its own networks, wherever it runs.
func knocktimeInsideCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "knocktime-inside ROUNDS",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			rounds, err := strconv.Atoi(args[0])
			o := knocktimeOptions{rounds: rounds, real: realOptions{trials: 1}}
			if err := errors.Join(err, o.check()); err != nil {
				return cli.Misuse(err)
			}
			progress, clear := progressOn(env.Stderr)
			measured, err := knocktime.Measure(c.Context(), knocktime.Rows(), rounds, progress)
			clear()
			if err != nil {
				return cli.WithHint(err, modelHint)
			}
			return json.NewEncoder(env.Stdout).Encode(measured)
		},
	}
}
