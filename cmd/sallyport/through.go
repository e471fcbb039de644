package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// The commands here knock first, and go on when the service answers. What
// they have to say themselves goes to standard error: the rest is not theirs.

func runCommand(env cli.Env) *cobra.Command {
	var o knockOptions
	c := &cobra.Command{
		Use:   "run PROFILE -- COMMAND…",
		Short: "Knock, then run a command once the service answers",
		Long: `Knock, then run a command once the service answers.

In the command's words {host} and {port} stand for the address and port that
answered. The exit code is the command's own; if the service did not open, the
command is not run, and the exit code is that of "knock".`,
		Example: "  sallyport run work -- curl http://{host}:{port}/",
		Args: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 1 || len(args) < 2 {
				return errors.New("expected a profile, --, and a command")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			result, err := o.knock(c.Context(), env, args[0], "", false)
			if err != nil {
				return err
			}
			return run(c.Context(), env, result, args[1:])
		},
	}
	o.flags(c)
	return c
}

// exitError ends the program with a command's exit code, and nothing said.
type exitError struct{ code int }

func (e *exitError) Error() string { return "the command ended with exit code " + strconv.Itoa(e.code) }

// ExitCode implements the cli package's interface for quiet ends.
func (e *exitError) ExitCode() int { return e.code }

func run(ctx context.Context, env cli.Env, at client.Result, words []string) error {
	// Of an address, only the zone could be words of a shell; a name in
	// /etc/hosts may have brought it.
	if a := at.Service.Addr(); !client.ValidHost(a.String()) {
		return fmt.Errorf("the service's address has a zone that no interface can have: %q", a)
	}
	host, port := at.Service.Addr().String(), strconv.Itoa(int(at.Service.Port()))
	replace := strings.NewReplacer("{host}:{port}", net.JoinHostPort(host, port), "{host}", host, "{port}", port)
	for i, w := range words {
		words[i] = replace.Replace(w)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, terminal.Raw(env.Stdout), terminal.Raw(env.Stderr)
	// A key at the terminal reaches the command by itself, and it decides
	// what to make of it; what was sent to us alone is passed on.
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
		return &exitError{codeOf(exit)}
	}
	return err
}

// codeOf is what a shell would make of a command's end: 128 and the signal, if
// it was one.
func codeOf(exit *exec.ExitError) int {
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

func connectCommand(env cli.Env) *cobra.Command {
	var o knockOptions
	c := &cobra.Command{
		Use:   "connect PROFILE [HOST PORT]",
		Short: "Knock, then carry standard input and output to the service",
		Long: `Knock, then carry standard input and output to the service.

Made for ssh: with

  Host work
      ProxyCommand sallyport connect work %h %p

in ~/.ssh/config, "ssh work" knocks by itself. HOST and PORT say where to
connect, if that is not the service of the profile. A HOST that the profile
names as its server is the address that was knocked.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 && len(args) != 3 {
				return errors.New("expected a profile, or a profile, a host and a port")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			service := ""
			if len(args) == 3 {
				service = net.JoinHostPort(args[1], args[2])
				if _, _, err := client.SplitService(service); err != nil {
					return cli.Misuse(err)
				}
			}
			result, err := o.knock(c.Context(), env, args[0], service, true)
			if err != nil {
				return err
			}
			return carry(c.Context(), env, result.Conn)
		},
	}
	o.flags(c)
	return c
}

// carry copies both ways until the service has nothing more to say. The end
// of standard input is passed on, so that the service may still answer.
func carry(ctx context.Context, env cli.Env, conn *client.Conn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go func() {
		io.Copy(conn, env.Stdin)
		conn.CloseWrite()
	}()
	_, err := io.Copy(terminal.Raw(env.Stdout), conn)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the connection broke: %w", err)
	}
	return nil
}

// knock is what run and connect do first. A service that is not empty takes
// the place of the profile's. With keep, the connection that proved the
// service open is kept.
func (o *knockOptions) knock(ctx context.Context, env cli.Env, name, service string, keep bool) (client.Result, error) {
	p, err := profile.Load(name)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	second, err := o.second(p)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	if service != "" {
		p.Service = service
		if p.Challenge != nil {
			p.Challenge.Service = service
		}
	}
	if p.Service == "" && !(second && (p.Challenge.Service != "" || p.Challenge.Operation.RandomPort())) {
		return client.Result{}, cli.Misuse(cli.WithHint(fmt.Errorf("profile %s names no service", name), "add service = \":PORT\" to it"))
	}
	return o.send(ctx, env, p, keep)
}
