package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bench/insider"
	"sallyport/cmd/internal/cli"
)

func insiderCommand(env cli.Env) *cobra.Command {
	var server string
	var window time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use:   "insider",
		Short: "Attack the server with a client's own secret",
		Long: `Attack the server with a client's own secret.

Two hundred honest clients make an attempt each, once and without a second one,
while a client with rights to one service completes 10,000 sequences a second
from 200 addresses: with a web service alone, and with firewall services. Fails
if they are not all let in, or if the log grows.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if window < minWindow || window > maxWindow {
				return cli.Misuse(fmt.Errorf("--window %s: it is %s to %s", window, minWindow, maxWindow))
			}
			path, done, err := findServer(c.Context(), server, env.Stderr)
			if err != nil {
				return err
			}
			defer done()
			results, err := measureInsider(c, env, path, window)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(env.Stdout).Encode(results)
			} else {
				err = insider.WriteText(env.Stdout, results)
			}
			var failures []string
			for _, r := range results {
				if f := r.Failure(); f != "" {
					failures = append(failures, f)
				}
			}
			if len(failures) > 0 {
				return fmt.Errorf("what must not happen has happened:\n  %s", strings.Join(failures, "\n  "))
			}
			return err
		},
	}
	c.Flags().StringVar(&server, "server", "", "the sallyportd to test (default: beside this program, or built from the module here, or in PATH)")
	c.Flags().DurationVar(&window, "window", 5*time.Second, "how long the honest clients take their turns, under each attack")
	c.Flags().BoolVar(&asJSON, "json", false, "print the results as an array of JSON")
	return c
}

// measureInsider measures in a process of its own, which is root in its
// namespaces.
func measureInsider(c *cobra.Command, env cli.Env, server string, window time.Duration) (results []insider.Result, err error) {
	out, err := alone(c, env, "", "insider-inside", server, window.String())
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(out, &results); err != nil {
		return nil, fmt.Errorf("read what was measured: %w", err)
	}
	return results, nil
}

// insiderInsideCommand measures, when insider started it.
func insiderInsideCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "insider-inside SERVER WINDOW",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			window, err := time.ParseDuration(args[1])
			if err != nil {
				return cli.Misuse(err)
			}
			progress, clear := progressOn(env.Stderr)
			results, err := insider.Run(c.Context(), insider.Config{Server: args[0], Window: window, Progress: progress})
			clear()
			if err != nil {
				return err
			}
			return json.NewEncoder(env.Stdout).Encode(results)
		},
	}
}
