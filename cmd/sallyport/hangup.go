package main

import (
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// endAtHangup makes SIGHUP end the context of a command, as SIGTERM does: so a command
// that runs until it is interrupted ends in order, and closes what --close is for, when
// its terminal closes. Under nohup(1) it goes on. The caller calls stop at the end.
func endAtHangup(c *cobra.Command) (stop func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return func() {}
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGHUP)
	c.SetContext(ctx)
	return stop
}
