package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
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
			result, err := o.knock(c.Context(), env, args[0], "")
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
	replace := strings.NewReplacer("{host}", at.Service.Addr().String(), "{port}", strconv.Itoa(int(at.Service.Port())))
	for i, w := range words {
		words[i] = replace.Replace(w)
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, env.Stdout, env.Stderr
	// A signal at the terminal reaches the command by itself; ours is passed
	// on, and the command decides when it has ended.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return &exitError{codeOf(exit)}
	case err != nil:
		return cli.Misuse(fmt.Errorf("run %s: %w", words[0], err))
	}
	return nil
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
			result, err := o.knock(c.Context(), env, args[0], service)
			if err != nil {
				return err
			}
			return carry(c.Context(), env, result.Service.String())
		},
	}
	o.flags(c)
	return c
}

// carry copies both ways until the service has nothing more to say. The end
// of standard input is passed on, so that the service may still answer.
func carry(ctx context.Context, env cli.Env, address string) error {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go func() {
		io.Copy(conn, env.Stdin)
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.CloseWrite()
		}
	}()
	_, err = io.Copy(env.Stdout, conn)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the connection broke: %w", err)
	}
	return nil
}

// knock is what run and connect do first. A service that is not empty takes
// the place of the profile's.
func (o *knockOptions) knock(ctx context.Context, env cli.Env, name, service string) (client.Result, error) {
	p, err := profile.Load(name)
	if err != nil {
		return client.Result{}, cli.Misuse(err)
	}
	if service != "" {
		p.Service = service
	}
	if p.Service == "" {
		return client.Result{}, cli.Misuse(cli.WithHint(fmt.Errorf("profile %s names no service", name), "add service = \":PORT\" to it"))
	}
	return o.send(ctx, env, p)
}
