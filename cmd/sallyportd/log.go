package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/loglimit"
	"sallyport/cmd/sallyportd/internal/logqueue"
)

// lastLines is how long the end of a process waits until its log is written.
const lastLines = time.Second

// openLog returns the log of a process that must not wait for it, and that grows
// by no more than a bounded number of lines a second of each kind; with the number
// of lines that were lost so far, and what ends it. From now on, a reader of the
// log that has gone away does not end this process (SIGPIPE).
func openLog(env cli.Env) (log *slog.Logger, dropped func() uint64, stop func()) {
	// Caught and not ignored: programs that are started do not inherit it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	log, q := logqueue.New(env.Stderr)
	return loglimit.New(log, env.Clock.Monotonic), q.Dropped, func() { q.Close(lastLines) }
}
