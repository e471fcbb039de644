package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

// trial is a benchmark in which honest clients take their turns for a time, while
// the server is attacked. Its results are of a type R.
type trial[R interface{ Failure() string }] struct {
	name, short, long string
	run               func(ctx context.Context, server string, window time.Duration, progress func(done, all int, what string)) ([]R, error)
	write             func(io.Writer, []R) error
}

// commands are the command that a user calls, and the one that it starts to
// measure.
func (t trial[R]) commands(env cli.Env) []*cobra.Command {
	return []*cobra.Command{t.outside(env), t.inside(env)}
}

func (t trial[R]) outside(env cli.Env) *cobra.Command {
	var server string
	var window time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use:   t.name,
		Short: t.short,
		Long:  t.short + ".\n\n" + t.long,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if window < minWindow || window > maxWindow {
				return cli.Misuse(fmt.Errorf("--window %s: it is %s to %s", window, minWindow, maxWindow))
			}
			path, done, err := findServer(c.Context(), server, env.Stderr)
			if err != nil {
				return err
			}
			defer done()
			results, err := t.measure(c, env, path, window)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(env.Stdout).Encode(results)
			} else {
				err = t.write(env.Stdout, results)
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

// measure measures in a process of its own, which is root in its
// namespaces.
func (t trial[R]) measure(c *cobra.Command, env cli.Env, server string, window time.Duration) (results []R, err error) {
	out, err := alone(c, env, "", t.name+"-inside", server, window.String())
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(out, &results); err != nil {
		return nil, fmt.Errorf("read what was measured: %w", err)
	}
	return results, nil
}

// inside measures, when outside started it.
func (t trial[R]) inside(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    t.name + "-inside SERVER WINDOW",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			window, err := time.ParseDuration(args[1])
			if err != nil {
				return cli.Misuse(err)
			}
			progress, clear := progressOn(env.Stderr)
			results, err := t.run(c.Context(), args[0], window, progress)
			clear()
			if err != nil {
				return err
			}
			return json.NewEncoder(env.Stdout).Encode(results)
		},
	}
}
