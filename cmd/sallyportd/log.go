package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/loglimit"
	"sallyport/cmd/sallyportd/internal/logsink"
)

// flushTime is how long a process that ends waits until the lines of its log that wait are
// written, if its reader takes them.
const flushTime = 5 * time.Second

// helperFlushTime is the same for a runner, whose end the server awaits (stopMargin in
// package daemon).
const helperFlushTime = time.Second

// formatVariable has the format of the log, for the processes that the server starts.
const formatVariable = "SALLYPORTD_LOG_FORMAT"

// processLog is the log of a process.
type processLog struct {
	*loglimit.Log
	tail  *logsink.Tail
	flush time.Duration
}

// stop ends the log.
func (l processLog) stop() { l.Close(l.flush) }

// setLogFormat decides the format of the logs that this process opens, and those that it
// starts; they share the number of lines that they may write in a second.
func setLogFormat(cfg *config.Config) {
	os.Setenv(formatVariable, cfg.LogFormat)
	loglimit.SharedBudget(false)
}

// logSettings are those of a process's log.
type logSettings struct {
	path   string        // of the configuration that hints name
	level  slog.Leveler  // nil: slog.LevelInfo
	holder bool          // the process has lines a second that no other can use
	flush  time.Duration // 0: flushTime
}

// openLog returns a log that never makes its process wait, and that writes less than ten
// lines a second. From now on, the process continues if the reader of its log goes away
// (SIGPIPE).
func openLog(env cli.Env, s logSettings) processLog {
	// The signal is caught and not ignored, because a program that this process
	// starts would inherit the latter.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if s.level == nil {
		s.level = slog.LevelInfo
	}
	if s.flush == 0 {
		s.flush = flushTime
	}
	tail := new(logsink.Tail)
	sink := logsink.New(logsink.Config{
		Out: env.Stderr, Format: logsink.Format(os.Getenv(formatVariable)), Tail: tail,
		JournalStream: os.Getenv("JOURNAL_STREAM"), Edit: hintOf(s.path),
	})
	return processLog{loglimit.New(loglimit.Config{
		Write: sink.Write, Level: s.level, Now: env.Clock.Monotonic, Wall: env.Clock.Wall,
		Budget: loglimit.SharedBudget(s.holder),
	}), tail, s.flush}
}
