package target

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
)

// Child is this program again, as a process under test that reads and writes lines.
type Child struct {
	*Process
	In  io.WriteCloser
	Out *bufio.Scanner
}

// StartChild starts this program again on one core.
func StartChild(ctx context.Context, core int, arguments ...string) (*Child, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", arguments...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a process: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a process: %w", err)
	}
	p, err := start(ctx, core, cmd)
	if err != nil {
		return nil, err
	}
	return &Child{p, in, bufio.NewScanner(out)}, nil
}

// Stop closes In, and waits for the process.
func (c *Child) Stop() error {
	c.In.Close()
	<-c.done
	if c.err != nil {
		return fmt.Errorf("stop a process: %v\n%s", c.err, c.log.text()) // not %w: an exec.ExitError is silent
	}
	return nil
}
