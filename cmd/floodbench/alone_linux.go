package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bench"
	"sallyport/cmd/internal/cli"
)

// alone runs this program again, as a process that is root in namespaces of its
// own, and returns what it prints: its root may not be allowed to write here. What
// goes wrong there it says itself.
func alone(c *cobra.Command, env cli.Env, hint string, args ...string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	inside := exec.CommandContext(c.Context(), self, args...)
	inside.SysProcAttr = bench.Attributes()
	inside.SysProcAttr.Setpgid = true // it is interrupted once, from here
	inside.Stderr = env.Stderr
	inside.Cancel = func() error { return inside.Process.Signal(os.Interrupt) }
	inside.WaitDelay = 10 * time.Second
	out, err := inside.Output()
	if c.Context().Err() != nil {
		return nil, quiet(cli.Interrupted) // it has said so
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return nil, quiet(exit.ExitCode()) // it has said why
	case err != nil:
		return nil, cli.WithHint(fmt.Errorf("make namespaces to measure in: %w", err),
			"they may be forbidden to users here: try as root, or see kernel.unprivileged_userns_clone and user.max_user_namespaces"+hint)
	}
	return out, nil
}
