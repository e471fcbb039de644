package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/terminal"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

// Bounds of the flags of "status".
const (
	minStatusTime = 100 * time.Millisecond
	maxStatusTime = time.Hour
)

func statusCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON, watch, html bool
	interval, timeout := 2*time.Second, 5*time.Second
	c := &cobra.Command{
		Use:        "status",
		SuggestFor: []string{"info", "stats", "top"},
		Short:      "Print what the running server does now",
		Long: `Print what the running server does now: its clock, knock ports and tiers, the
services with their leases and connections, what it refuses and how fast, its
queues, its state file, the holder of the firewall, and its fleet.

--watch prints that again and again until interrupted; on a terminal it redraws.
While the server cannot be reached, it prints the reason, and goes on. Rates are
those of the last minute. A dash means that this process does not count it: the kernel
carries the connections of a service of type "firewall".

--html writes a page for a browser, to a file that only this user can read, or to
standard output: the same, refusals in each minute of the last hour, and leases on a
line of time. The page needs no network, and names clients and addresses.

Exit codes: 0 the server answers; 1 failed; 2 wrong usage or configuration; 3 no
server runs with this configuration; 4 the admin socket cannot be reached, so that
a server may run: no permission, no answer in time, or a server without its socket.
With --json, the error has the reason as one word: not-running, no-socket, refused,
permission, timeout, earlier-release or error.`,
		Example: "  sallyportd status --watch\n  sallyportd status --html status.html",
		Args: func(c *cobra.Command, args []string) error {
			if html { // see htmlTarget
				return nil
			}
			return cobra.NoArgs(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			for flag, value := range map[string]time.Duration{"interval": interval, "timeout": timeout} {
				if value < minStatusTime || value > maxStatusTime {
					return cli.Misuse(outOfRange(flag, value))
				}
			}
			page := ""
			if html {
				var err error
				if page, err = htmlTarget(env, args, asJSON || watch); err != nil {
					return cli.Misuse(err)
				}
			}
			cfg, err := loadOrLocate(path, func(text string) { env.Err().Warning(text, "") })
			if err != nil {
				return cli.Misuse(err)
			}
			if html {
				return writeStatusPage(c.Context(), env, cfg, page, timeout)
			}
			if watch {
				return watchStatus(c.Context(), env, cfg, interval, timeout, asJSON)
			}
			st, err := readStatus(c.Context(), cfg, timeout)
			if err != nil {
				return err
			}
			return printStatus(env, st, asJSON)
		},
	}
	c.Flags().BoolVar(&watch, "watch", false, "print it again and again, until interrupted")
	c.Flags().BoolVar(&html, "html", false, "write a page for a browser, to the file that is the argument, or else to standard output")
	c.Flags().DurationVar(&interval, "interval", interval, "with --watch: the `time` between two")
	c.Flags().DurationVar(&timeout, "timeout", timeout, "the `time` in which the server must answer")
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// outOfRange is the error of a flag with a time.
func outOfRange(flag string, value time.Duration) error {
	return fmt.Errorf("--%s: expected a duration from %s to %s, got %s", flag, minStatusTime, maxStatusTime, value)
}

func printStatus(env cli.Env, st admin.Status, asJSON bool) error {
	if asJSON {
		return env.Out().JSON(st)
	}
	return writeStatus(env, st)
}

// redraw moves to the top of the terminal, and clears it.
const redraw = "\x1b[H\x1b[2J"

// watchStatus prints the status until ctx ends. An error of the first one is an error of
// the command; later ones are printed in the place of the status.
func watchStatus(ctx context.Context, env cli.Env, cfg *config.Config, interval, timeout time.Duration, asJSON bool) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for first := true; ; first = false {
		st, err := readStatus(ctx, cfg, timeout)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && first:
			return err
		}
		if !asJSON {
			separator := "\n"
			if env.StdoutTerminal {
				separator = redraw
			} else if first {
				separator = ""
			}
			if _, err := terminal.Raw(env.Stdout).Write([]byte(separator)); err != nil {
				return err
			}
		}
		if err == nil {
			err = printStatus(env, st, asJSON)
		} else {
			err = printUnreachable(env, err, asJSON)
		}
		if err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// printUnreachable prints why there is no status at this moment.
func printUnreachable(env cli.Env, why error, asJSON bool) error {
	f := cli.Explain(why)
	if asJSON {
		return env.Out().JSON(f)
	}
	return env.Out().Warning(f.Error, f.Hint)
}
