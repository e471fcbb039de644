package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/internal/terminal"
	"sallyport/sessions/client"
)

func runCommand(env cli.Env) *cobra.Command {
	var o knockOptions
	c := &cobra.Command{
		Use:   "run PROFILE -- COMMAND…",
		Short: "Knock, then run a command when the service answers",
		Long: `Knock, then run a command when the service answers.

In the arguments of the command, {host} and {port} are replaced by the address and
port that answered. The exit code is that of the command. If the service does not
open, the command does not run, and the exit code is that of "knock".`,
		Example: "  sallyport run work -- curl http://{host}:{port}/",
		Args: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 1 || len(args) < 2 {
				return errors.New("expected a profile, --, and a command")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			result, err := o.knock(c, env, args[0], false)
			if err != nil {
				return err
			}
			return run(c.Context(), env, result, args[1:])
		},
	}
	o.flags(c)
	o.jsonErrorFlag(c)
	return c
}

// jsonErrorFlag adds --json to a command whose standard output is that of another
// program. Package cli prints the error.
func (o *knockOptions) jsonErrorFlag(c *cobra.Command) {
	c.Flags().BoolVar(&o.json, "json", false, "print an error of sallyport as JSON on standard output")
}

// knock knocks before run and connect. They print only on standard error, since
// standard output belongs to the command or the service. With keep, the result
// has the connection to the service.
func (o *knockOptions) knock(c *cobra.Command, env cli.Env, name string, keep bool) (client.Result, error) {
	p, err := profile.Load(name)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	challenge, err := o.usesChallenge(p)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	opens := o.service != "" || p.Service != "" || challenge && (p.Challenge.Service != "" || p.Challenge.Operation.RandomPort())
	if !opens {
		return client.Result{}, cli.Misuse(cli.WithHint(fmt.Errorf("profile %s names no service", name),
			"add service = \":PORT\" to the profile"))
	}
	return o.send(c, env, p, keep)
}

func run(ctx context.Context, env cli.Env, result client.Result, words []string) error {
	// The zone is the only part of an address that could contain shell syntax. It
	// may come from a name in /etc/hosts.
	address := result.Service.Addr()
	if !client.ValidHost(address.String()) {
		return fmt.Errorf("the address of the service has an invalid zone: %q", address)
	}
	host, port := address.String(), strconv.Itoa(int(result.Service.Port()))
	replace := strings.NewReplacer("{host}:{port}", net.JoinHostPort(host, port), "{host}", host, "{port}", port)
	for i, w := range words {
		words[i] = replace.Replace(w)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, terminal.Raw(env.Stdout), terminal.Raw(env.Stderr)
	// The terminal sends its signals to the command as well, which decides what to
	// do. A signal that was sent to this process only is passed on.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	env.HandOver()
	if err := cmd.Start(); err != nil {
		return cli.Misuse(fmt.Errorf("run %s: %w", words[0], err))
	}
	go func() {
		for s := range signals {
			if s == syscall.SIGTERM || s == syscall.SIGHUP {
				cmd.Process.Signal(s)
			}
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &exitError{exitCode(exit)}
	}
	return err
}

// exitCode returns a command's exit code as a shell does: 128 plus the signal, if a
// signal ended the command.
func exitCode(exit *exec.ExitError) int {
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}
