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

// runIsolated runs this program again, as a process that is root in new
// namespaces, and returns its output: that root may not be allowed to write files
// here. The process prints its errors itself.
func runIsolated(c *cobra.Command, env cli.Env, hint string, args ...string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	inside := exec.CommandContext(c.Context(), self, args...)
	inside.SysProcAttr = bench.Attributes()
	inside.SysProcAttr.Setpgid = true // only Cancel interrupts it, once
	inside.Stderr = env.Stderr
	inside.Cancel = func() error { return inside.Process.Signal(os.Interrupt) }
	inside.WaitDelay = 10 * time.Second
	out, err := inside.Output()
	if c.Context().Err() != nil {
		return nil, silentExit(cli.Interrupted) // the process has printed it
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return nil, silentExit(exit.ExitCode()) // the process has printed the error
	case err != nil:
		return nil, cli.WithHint(fmt.Errorf("create namespaces: %w", err),
			"this host may forbid user namespaces: run as root, "+
				"or check kernel.unprivileged_userns_clone and user.max_user_namespaces"+hint)
	}
	return out, nil
}
