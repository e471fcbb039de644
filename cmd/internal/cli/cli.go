// Package cli is the shell of both commands: how they start, stop, and report
// errors.
//
// Exit codes: 0 done; 1 failed; 2 wrong usage, configuration or file, and nothing
// was changed; 130 interrupted. An error with a FailureCode method has that code.
//
// An error goes to standard error, as text, with a hint below it. If the
// arguments ask for --json, the error goes to standard output instead, as the
// last line there, and nothing of it to standard error:
//
//	{"error":"…","hint":"…","exit_code":2}
//
// The hint is empty if there is none. An error with a ReasonCode method also has a
// "reason", one word, and one with a Diagnosis method has the lists "certain" and
// "likely", whose lines are in the hint too. This holds also for an error in the
// arguments themselves, before the command starts, for --json with a command
// that has no such flag, and for a command that is interrupted. It does not hold
// if a second signal ends the program at once, or for a command that ends with
// the exit code of another program that it has started: these print nothing.
package cli

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/output"
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

// Env is the environment of a command: all that it uses of the process.
type Env struct {
	Args   []string // without the name of the program
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Clock  clock.Clock

	// Getenv returns a variable of the environment; nil: none is set.
	Getenv func(name string) string
	// Zone is the time zone in which people read times; nil: UTC.
	Zone *time.Location
	// StdoutTerminal and StderrTerminal report whether the stream is a terminal.
	StdoutTerminal, StderrTerminal bool

	// LookupIP returns the addresses of a host name, as a net.Resolver does; nil: the
	// system's resolver.
	LookupIP func(ctx context.Context, network, host string) ([]netip.Addr, error)

	// HandOver gives signals back to the command, which handles them itself from
	// then on: a signal no longer ends its context. One that came before has ended it when
	// HandOver returns.
	HandOver func()
}

// Now is the time of day.
func (e Env) Now() time.Time { return e.Clock.Wall() }

// Time formats a time for people.
func (e Env) Time(t time.Time) string { return output.Time(t, e.Zone) }

// Lookup returns the addresses of a host name. The network is ip, ip4 or ip6.
func (e Env) Lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if e.LookupIP == nil {
		return net.DefaultResolver.LookupNetIP(ctx, network, host)
	}
	return e.LookupIP(ctx, network, host)
}

// Variable returns a variable of the environment; empty: it is not set.
func (e Env) Variable(name string) string {
	if e.Getenv == nil {
		return ""
	}
	return e.Getenv(name)
}

// Out returns a printer to standard output.
func (e Env) Out() *output.Printer {
	return output.New(e.Stdout, output.Coloured(e.StdoutTerminal, e.Getenv), e.Zone)
}

// Err returns a printer to standard error.
func (e Env) Err() *output.Printer {
	return output.New(e.Stderr, output.Coloured(e.StderrTerminal, e.Getenv), e.Zone)
}

// repeatTime is the time in which further signals count as the first one:
// timeout(1) sends each signal to its child, and then to the process group too.
const repeatTime = 250 * time.Millisecond

// handleSignals calls stop after the first signal, and exit after the first one
// that comes later than repeatTime. It returns when signals is closed.
func handleSignals(signals <-chan os.Signal, stop, exit func()) {
	if _, open := <-signals; !open {
		return
	}
	stop()
	begin := time.Now()
	for range signals {
		if time.Since(begin) > repeatTime {
			exit()
			return
		}
	}
}

// signalContext returns a context that SIGINT and SIGTERM end, and Env.HandOver.
func signalContext(exit func()) (ctx context.Context, handOver func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, handled := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer close(handled)
		handleSignals(signals, cancel, exit)
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals) // waits for signals on their way to the channel
		close(signals)
		<-handled
	})
}

// Main runs the program and exits. SIGINT and SIGTERM end the context of the
// command; a second one ends the program at once, unless it comes together with
// the first.
func Main(command func(Env) *cobra.Command) {
	ctx, handOver := signalContext(func() { os.Exit(Interrupted) })
	env := Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: terminal.Wrap(os.Stdout), Stderr: terminal.Wrap(os.Stderr),
		Clock: clock.System(), Getenv: os.Getenv, Zone: time.Local,
		StdoutTerminal: terminal.Is(os.Stdout), StderrTerminal: terminal.Is(os.Stderr),
		HandOver: handOver,
	}
	os.Exit(Run(ctx, env, command(env)))
}

// addManual adds a command to builds with the tag "manual".
var addManual = func(Env, *cobra.Command) {}

// Run executes a command, prints its error, and returns the exit code.
func Run(ctx context.Context, env Env, root *cobra.Command) int {
	started := false
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if err := refuseEmpty(c); err != nil {
			return err
		}
		started = true
		return nil
	}
	root.SilenceErrors, root.SilenceUsage = true, true
	addManual(env, root)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			Group(c) // cobra accepts an unknown shell
		}
	}
	root.Version = Version()
	explainArguments(root)
	acceptDays(root)
	root.SetArgs(env.Args)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return Done
	}
	if !started {
		err = explainUsage(root, command, env.Args, err)
	}
	f, silent := failureOf(ctx, err)
	if silent {
		return f.ExitCode
	}
	if !started && f.ExitCode != Interrupted {
		f.ExitCode = Misused
		f.Hint = strings.TrimPrefix(f.Hint+"\n"+command.CommandPath()+" --help", "\n")
		f.advice = f.Hint
	}
	asText := func() error {
		f.Print(env.Err(), root.Name())
		return nil
	}
	printError := asText
	if jsonAsked(env.Args, command, started) {
		printError = func() error { return env.Out().JSON(f) }
	}
	if printInTime(printError) != nil {
		printInTime(asText)
	}
	return f.ExitCode
}

// jsonFlag is the name of the flag that asks for JSON.
const jsonFlag = "json"

// AddJSONFlag adds --json to a command that can print its result as JSON.
func AddJSONFlag(c *cobra.Command, asJSON *bool) {
	c.Flags().BoolVar(asJSON, jsonFlag, false, "print JSON, for programs: one object a line, and an error as an object too")
}

// jsonAsked reports whether --json was given. If the arguments could not be
// parsed, it looks for the flag among them.
func jsonAsked(args []string, c *cobra.Command, started bool) bool {
	if flag := c.Flags().Lookup(jsonFlag); flag != nil && flag.Changed {
		return flag.Value.String() == "true"
	}
	if started {
		return false
	}
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	asked := false
	for i, arg := range args {
		if i > 0 && takesValue(c, args[i-1]) {
			continue // it is the value of the flag before
		}
		if arg == "--"+jsonFlag {
			asked = true
		} else if value, ok := strings.CutPrefix(arg, "--"+jsonFlag+"="); ok {
			parsed, err := strconv.ParseBool(value)
			asked = parsed || err != nil
		}
	}
	return asked
}

// takesValue reports whether an argument is a flag whose value is the next one.
func takesValue(c *cobra.Command, arg string) bool {
	var flag *pflag.Flag
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		flag = c.Flags().Lookup(name)
	} else if name, ok := strings.CutPrefix(arg, "-"); ok && len(name) == 1 {
		flag = c.Flags().ShorthandLookup(name)
	}
	return flag != nil && flag.NoOptDefVal == ""
}

// errorTime is how long the end of a command waits for its error to be read.
const errorTime = 5 * time.Second

// printInTime prints how a command has ended, and returns the error of print. A
// reader that does not read must not keep the process from ending.
func printInTime(print func() error) error {
	printed := make(chan error, 1)
	go func() { printed <- print() }()
	select {
	case err := <-printed:
		return err
	case <-time.After(errorTime):
		return nil
	}
}

// Misuse is hint.Misuse.
func Misuse(err error) error { return hint.Misuse(err) }

// WithHint is hint.With.
func WithHint(err error, text string) error { return hint.With(err, text) }
