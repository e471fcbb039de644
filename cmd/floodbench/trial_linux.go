package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

// trial is a benchmark in which honest clients take turns for a time while the
// server is attacked. Its results have the type R.
type trial[R interface{ Failure() string }] struct {
	name, short, long string
	usage             string // of --window; "": of a flood
	write             func(io.Writer, []R) error
	run               func(
		ctx context.Context, server string, window time.Duration, progress func(done, all int, what string),
	) ([]R, error)
}

// commands returns the command that a user calls, and the hidden one that it
// starts to measure.
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
			if err := checkWindow(window); err != nil {
				return cli.Misuse(err)
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
				return fmt.Errorf("the run failed:\n  %s", strings.Join(failures, "\n  "))
			}
			return err
		},
	}
	c.Flags().StringVar(&server, "server", "", serverUsage)
	c.Flags().DurationVar(&window, "window", 5*time.Second, cmp.Or(t.usage, "how long the honest clients take turns under each attack"))
	c.Flags().BoolVar(&asJSON, "json", false, "print the results as a JSON array")
	return c
}

// measure measures in a separate process, which is root in its namespaces.
func (t trial[R]) measure(
	c *cobra.Command, env cli.Env, server string, window time.Duration,
) (results []R, err error) {
	out, err := runIsolated(c, env, "", t.name+"-inside", server, window.String())
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(out, &results); err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	return results, nil
}

// inside is the process that outside starts to measure.
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
