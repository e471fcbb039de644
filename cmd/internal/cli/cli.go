// Package cli is what both commands have in common: how they start, stop, and
// tell of errors.
//
// Exit codes: 0 done; 1 failed; 2 wrong usage, configuration or file, nothing
// was done; 130 interrupted.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/terminal"
	"sallyport/sessions/clock"
)

// The exit codes.
const (
	Done        = 0
	Failed      = 1
	Misused     = 2
	Interrupted = 130
)

// Env is what a command may touch of the world.
type Env struct {
	Args   []string // without the name of the program
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Clock  clock.Clock
	// HandOver gives signals back to the command, which from then on sees to
	// them itself: its context no longer ends with one.
	HandOver func()
}

// Now is the time of day.
func (e Env) Now() time.Time { return e.Clock.Wall() }

// Main runs the program and exits. SIGINT and SIGTERM end the context of the
// command; the second one ends the program at once.
func Main(command func(Env) *cobra.Command) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(Interrupted)
	}()
	env := Env{Args: os.Args[1:], Stdin: os.Stdin, Stdout: terminal.Wrap(os.Stdout), Stderr: terminal.Wrap(os.Stderr), Clock: clock.System(),
		HandOver: func() { signal.Stop(signals) }}
	os.Exit(Run(ctx, env, command(env)))
}

// Run executes a command, prints its error, and returns the exit code.
func Run(ctx context.Context, env Env, root *cobra.Command) int {
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SilenceErrors, root.SilenceUsage = true, true
	root.AddCommand(manCommand(root))
	root.Version = version()
	root.SetArgs(env.Args)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return Done
	}
	var text strings.Builder
	defer func() { printInTime(env.Stderr, text.String()) }()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintf(&text, "%s: interrupted\n", root.Name())
		return Interrupted
	}
	// A command that ran another one ends as that one did, without a word.
	var quiet interface{ ExitCode() int }
	if errors.As(err, &quiet) {
		return quiet.ExitCode()
	}
	// Errors repeat what files, servers and other programs say.
	fmt.Fprintf(&text, "%s: %s\n", root.Name(), terminal.Lines(err.Error()))
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		for line := range strings.Lines(hinted.Hint()) {
			fmt.Fprintf(&text, "hint: %s\n", terminal.Text(strings.TrimSpace(line)))
		}
	}
	var misuse interface{ Misuse() }
	switch {
	case !started:
		fmt.Fprintf(&text, "hint: %s --help\n", command.CommandPath())
		return Misused
	case errors.As(err, &misuse):
		return Misused
	}
	return Failed
}

// lastWords is how long the end of a command waits for its error to be read.
const lastWords = 5 * time.Second

// printInTime prints how a command has ended. A reader that takes nothing does
// not keep the process from ending.
func printInTime(w io.Writer, text string) {
	if text == "" {
		return
	}
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		io.WriteString(w, text)
	}()
	select {
	case <-printed:
	case <-time.After(lastWords):
	}
}

// Group makes a command that only has subcommands, and says so.
func Group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return Misuse(WithHint(fmt.Errorf("unknown command %q", args[0]), c.CommandPath()+" --help"))
	}
	return c
}

// Misuse is hint.Misuse.
func Misuse(err error) error { return hint.Misuse(err) }

// WithHint is hint.With.
func WithHint(err error, text string) error { return hint.With(err, text) }
