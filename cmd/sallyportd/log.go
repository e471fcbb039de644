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

// flushTime is how long a process that ends waits until its log is written.
const flushTime = time.Second

// openLog returns a log that never makes its process wait, and that writes a
// bounded number of lines a second of each kind, from a level on. dropped returns the
// number of lines lost so far, and stop ends the log. Its hints name the configuration
// at path. From now on, the process continues if the reader of its log goes away
// (SIGPIPE).
func openLog(env cli.Env, path string, level slog.Leveler) (log *slog.Logger, dropped func() uint64, stop func()) {
	// The signal is caught and not ignored, because a program that this process
	// starts would inherit the latter.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	log, q := logqueue.New(env.Stderr, level)
	log = slog.New(hintHandler{log.Handler(), path})
	return loglimit.New(log, env.Clock.Monotonic), q.Dropped, func() { q.Close(flushTime) }
}
