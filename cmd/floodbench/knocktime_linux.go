package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bench"
	"sallyport/bench/knocktime"
	"sallyport/cmd/internal/cli"
)

const modelHint = `the model alone needs no network: "floodbench knocktime --model-only"`

// measureKnocks measures in a process of its own, which is root in its
// namespaces.
func measureKnocks(c *cobra.Command, env cli.Env, rounds int) (measured []time.Duration, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	inside := exec.CommandContext(c.Context(), self, "knocktime-inside", strconv.Itoa(rounds))
	inside.SysProcAttr = bench.Attributes()
	inside.SysProcAttr.Setpgid = true // it is interrupted once, from here
	inside.Stderr = env.Stderr
	inside.Cancel = func() error { return inside.Process.Signal(os.Interrupt) }
	inside.WaitDelay = 10 * time.Second
	out, err := inside.Output()
	if c.Context().Err() != nil {
		return nil, quiet(cli.Interrupted) // it has said so
	}
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			return nil, quiet(exit.ExitCode()) // it has said why
		}
		return nil, cli.WithHint(fmt.Errorf("make namespaces for the line: %w", err),
			"they may be forbidden to users here: try as root, or see kernel.unprivileged_userns_clone and user.max_user_namespaces\n"+modelHint)
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
