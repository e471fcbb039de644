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
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/internal/terminal"
	"sallyport/sessions/client"
)

func runCommand(env cli.Env) *cobra.Command {
	var o knockOptions
	var every time.Duration
	var once bool
	c := &cobra.Command{
		Use:   "run PROFILE [flags] -- COMMAND…",
		Short: "Knock, then run a command when the service answers",
		Long: `Knock, then run a command when the service answers.

In the arguments of the command, {host} and {port} are replaced by the address and
port that answered. The exit code is that of the command. If the service does not
open, the command does not run, and the exit code is that of "knock".

If the profile names a UDP service, or none, the command runs when the knocks were
sent: so "run" can start a VPN.

While the command runs, the client keeps the service open as "stay" does, so that later
connections get in too. --keep-open TIME sets the time between two knocks. With --once,
the client knocks for one connection, and later ones get in until the server's open_for
is over. If the port of the service rotates, or is for one connection, the client cannot
keep it open for the command, since a later knock opens another port.

With bind = "connection" in the profile, each connection has to prove itself, which the
command cannot do. Then {host} and {port} are a local port, whose connections this
program proves and carries to the service, as "forward" does. The same applies if
packets open nothing, and connections go through a web server (tunnel = true in the
profile); and if the profile has watch = "none" and another way than packets, since only
a connection then shows whether the packets have opened the service.`,
		Example: `  sallyport run work -- curl http://{host}:{port}/
  sallyport run vpn --once -- wg-quick up wg0`,
		Args: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 1 || len(args) < 2 {
				return errors.New("expected a profile, --, and a command")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			p, err := o.load(c, env, args[0])
			defer profile.End(p)
			if err != nil {
				return err
			}
			if err := checkEvery(c, "keep-open", every); err != nil {
				return err
			}
			if once && c.Flags().Changed("keep-open") {
				return cli.Misuse(errors.New("expected --once or --keep-open, got both"))
			}
			changes, err := o.changesPort(p)
			if err == nil && c.Flags().Changed("keep-open") && changes != "" {
				err = cli.WithHint(fmt.Errorf("--keep-open: the port of the service of profile %s %s, and a later knock opens another port", args[0], changes),
					"omit --keep-open: a connection lasts until it is closed, unless the server cuts it at the end of the lease")
			}
			if err == nil {
				err = o.canReplace(args[0], p, args[1:])
			}
			if err == nil {
				err = o.checkClose(args[0], p)
			}
			if err != nil {
				return cli.Misuse(err)
			}
			since := env.Clock.Boot()
			first := o
			first.probe = true // through a tunnel, each connection has an exchange
			result, err := first.send(c, env, p, false)
			if err != nil {
				return err
			}
			defer o.closeAtEnd(c.Context(), env, p) // after the last knock
			if !once && changes == "" && !result.ByTunnel {
				end, err := o.stayOpen(c, env, p, every, since)
				if err != nil {
					return cli.Misuse(err)
				}
				defer end()
			}
			if own := o.needsLocalPort(p, result); own != nil {
				end, err := own.localPort(c, env, args[0], p, &result, since)
				if err != nil {
					return cli.Misuse(err)
				}
				defer end()
			}
			return run(c.Context(), env, result, args[1:])
		},
	}
	o.flags(c)
	o.watchFlag(c)
	c.Flags().DurationVar(&every, "keep-open", 0, "knock again each `time` while the command runs (default: twice in the profile's open_for)")
	o.closeFlag(c)
	c.Flags().BoolVar(&once, "once", false, "do not knock again while the command runs")
	o.jsonErrorFlag(c)
	return c
}

func run(ctx context.Context, env cli.Env, result client.Result, words []string) error {
	// The zone is the only part of an address that could contain shell syntax. It
	// may come from a name in /etc/hosts.
	address, port := result.Address, ""
	if result.Service.IsValid() {
		address, port = result.Service.Addr(), strconv.Itoa(int(result.Service.Port()))
	}
	if !client.ValidHost(address.String()) {
		return fmt.Errorf("the address of the service has an invalid zone: %q", address)
	}
	host := address.String()
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
