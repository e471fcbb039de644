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

const modelHint = `the model alone needs no network: "floodbench knocktime --model-only"`

// measureKnocks measures in a process of its own, which is root in its
// namespaces.
func measureKnocks(c *cobra.Command, env cli.Env, rounds int) (measured []time.Duration, err error) {
	out, err := alone(c, env, "\n"+modelHint, "knocktime-inside", strconv.Itoa(rounds))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(out, &measured); err != nil {
		return nil, fmt.Errorf("read what was measured: %w", err)
	}
	return measured, nil
}

// knocktimeInsideCommand measures, when knocktime started it. It makes networks
// of its own wherever it is.
func knocktimeInsideCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "knocktime-inside ROUNDS",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			rounds, err := strconv.Atoi(args[0])
			if err := errors.Join(err, timing{rounds: rounds}.check()); err != nil {
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
