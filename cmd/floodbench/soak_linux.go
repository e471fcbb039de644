package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bench/soak"
	"sallyport/cmd/internal/cli"
)

const (
	minSoak = time.Second
	maxSoak = 100 * time.Hour
)

func soakCommand(env cli.Env) *cobra.Command {
	var server, out string
	var length time.Duration
	var seed uint64
	var plant bool
	c := &cobra.Command{
		Use:   "soak",
		Short: "Run a server while everything goes wrong together, and judge it",
		Long: `Run a server while everything goes wrong together, and judge it.

Honest clients of both protocols knock, during a flood, sequences without their last
knock, replays, rotations of secrets, reloads, revocations, restarts, SIGKILLs of the
server and of its helpers, a flushed ruleset, and a full disk. Each grant in the log
is compared with the packets that its client has sent. A stranger and revoked clients
connect to the services every 50 ms, and other clients when their leases have ended.
At the end, goroutines, descriptors, processes, set elements and leases are compared
with those of a server that has done almost nothing.

Prints the counts, and each violation with its time and the action before. Fails if
there is one.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if length < minSoak || length > maxSoak {
				return cli.Misuse(fmt.Errorf("--for: got %s, expected %s to %s", length, minSoak, maxSoak))
			}
			if out != "" {
				if err := makeDir(out); err != nil {
					return err
				}
			}
			if !c.Flags().Changed("seed") {
				seed = rand.Uint64N(1 << 32)
			}
			path, done, err := findServer(c.Context(), server, env.Stderr)
			if err != nil {
				return err
			}
			defer done()
			text, err := runIsolated(c, env, "", "soak-inside", path, length.String(), strconv.FormatUint(seed, 10), strconv.FormatBool(plant))
			if err != nil {
				return err
			}
			var r soak.Result
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("read the result: %w", err)
			}
			if out != "" {
				if err := writeFiles(out, soakFiles(r)); err != nil {
					return err
				}
			}
			if err := r.WriteText(env.Stdout); err != nil {
				return err
			}
			if failure := r.Failure(); failure != "" {
				return errors.New("the run failed: " + failure)
			}
			return nil
		},
	}
	c.Flags().StringVar(&server, "server", "", serverUsage)
	c.Flags().DurationVar(&length, "for", 30*time.Second, "how long the actions go on")
	c.Flags().StringVar(&out, "out", "", "the `directory` for result.json and the server's log; created if it does not exist")
	c.Flags().Uint64Var(&seed, "seed", 0, "the `number` that the order of the actions is drawn from (default a random one)")
	c.Flags().BoolVar(&plant, "plant", false, "instead of the actions, open a service by hand: the run fails unless exactly that is reported")
	return c
}

// soakFiles are the result, and the log of all servers.
func soakFiles(r soak.Result) map[string]func(io.Writer) error {
	log := r.Log
	r.Log = nil
	return map[string]func(io.Writer) error{
		"result.json": func(w io.Writer) error { return json.NewEncoder(w).Encode(r) },
		"log": func(w io.Writer) error {
			_, err := w.Write(log)
			return err
		},
	}
}

// soakInsideCommand is the process that soak starts.
func soakInsideCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "soak-inside SERVER FOR SEED PLANT",
		Hidden: true,
		Args:   cobra.ExactArgs(4),
		RunE: func(c *cobra.Command, args []string) error {
			length, err1 := time.ParseDuration(args[1])
			seed, err2 := strconv.ParseUint(args[2], 10, 64)
			plant, err3 := strconv.ParseBool(args[3])
			if err := errors.Join(err1, err2, err3); err != nil {
				return cli.Misuse(err)
			}
			progress, clear := progressOn(env.Stderr)
			r, err := soak.Run(c.Context(), soak.Config{
				Server: filepath.Clean(args[0]), For: length, Seed: seed, Plant: plant, Progress: progress,
			})
			clear()
			if err != nil {
				return err
			}
			return json.NewEncoder(env.Stdout).Encode(r)
		},
	}
}
