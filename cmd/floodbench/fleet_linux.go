package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bench/fleet"
	"sallyport/cmd/internal/cli"
)

// fleetOptions are the flags of fleet.
type fleetOptions struct {
	json, quick  bool
	tries        int
	window       time.Duration
	server, etcd string
}

func (o *fleetOptions) resolve(changed func(name string) bool) error {
	if o.quick {
		for _, name := range []string{"tries", "window"} {
			if changed(name) {
				return fmt.Errorf("--quick and --%s exclude each other", name)
			}
		}
		o.tries, o.window = 20, time.Second
	}
	return o.check()
}

func (o *fleetOptions) check() error {
	const least, most = 10, 4000
	if o.tries < least || o.tries > most {
		return fmt.Errorf("--tries: got %d, expected %d to %d", o.tries, least, most)
	}
	return checkWindow(o.window)
}

func fleetCommand(env cli.Env) *cobra.Command {
	var o fleetOptions
	c := &cobra.Command{
		Use:   "fleet",
		Short: "Measure gateways that share an etcd",
		Long: `Measure gateways that share an etcd.

Runs a server without a fleet, one gateway with one member of etcd, and three gateways
with three members, each gateway in a separate network, over links to etcd with round
trips of 0, 2 and 20 ms. Measures the time from the last knock until the service is
open, at the gateway that was knocked and at the others; grants a second, with the
processor time and the requests to etcd that they cost; and the same times, the start
and the memory with a million clients.

Prints tables, and what 100 gateways with 10 million clients would ask of etcd. Fails
if an attempt opens nothing, if it costs more requests than it should, or if half of
the attempts take longer than two writes in etcd and a millisecond, or 0.3 ms longer
with a million clients. Losses and times cannot fail if other machines took more than
12 % of a core meanwhile, or other programs more than 12 % of all cores. Takes about five minutes; with --quick, in which times cannot
fail, less than half a minute.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.resolve(c.Flags().Changed); err != nil {
				return cli.Misuse(err)
			}
			return measureFleet(c, env, o)
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	c.Flags().BoolVar(&o.quick, "quick", false, "only show that everything works")
	c.Flags().IntVar(&o.tries, "tries", 300, "how many attempts each row has")
	c.Flags().DurationVar(&o.window, "window", 5*time.Second, "how long each measurement of grants a second lasts")
	c.Flags().StringVar(&o.server, "server", "", serverUsage)
	c.Flags().StringVar(&o.etcd, "etcd", "", "the `path` of the etcd to use; by default, the one beside this program, or in PATH")
	return c
}

// findEtcd returns the path of etcd.
func findEtcd(given string) (string, error) {
	if given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return "", cli.Misuse(fmt.Errorf("--etcd: %w", err))
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil {
		if beside, err := exec.LookPath(filepath.Join(filepath.Dir(self), "etcd")); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("etcd")
	if err != nil {
		return "", cli.WithHint(cli.Misuse(errors.New("found no etcd")),
			"install it (Debian: etcd-server), or give its path with --etcd")
	}
	return filepath.Abs(path)
}

// measureFleet measures in a separate process, which is root in its namespaces.
func measureFleet(c *cobra.Command, env cli.Env, o fleetOptions) error {
	etcd, err := findEtcd(o.etcd)
	if err != nil {
		return err
	}
	server, done, err := findServer(c.Context(), o.server, env.Stderr)
	if err != nil {
		return err
	}
	defer done()
	out, err := runIsolated(c, env, "", "fleet-inside", server, etcd, strconv.Itoa(o.tries), o.window.String(), strconv.FormatBool(o.quick))
	if err != nil {
		return err
	}
	var result fleet.Result
	if err := json.Unmarshal(out, &result); err != nil {
		return fmt.Errorf("read the result: %w", err)
	}
	if o.json {
		err = json.NewEncoder(env.Stdout).Encode(result)
	} else {
		err = result.Text(env.Stdout)
	}
	if failures := result.Failures(); len(failures) > 0 {
		return fmt.Errorf("the run failed:\n  %s", strings.Join(failures, "\n  "))
	}
	return err
}

// fleetInsideCommand is the process that fleet starts to measure.
func fleetInsideCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "fleet-inside SERVER ETCD TRIES WINDOW QUICK",
		Hidden: true,
		Args:   cobra.ExactArgs(5),
		RunE: func(c *cobra.Command, args []string) error {
			tries, err1 := strconv.Atoi(args[2])
			window, err2 := time.ParseDuration(args[3])
			quick, err3 := strconv.ParseBool(args[4])
			o := fleetOptions{tries: tries, window: window}
			if err := errors.Join(err1, err2, err3, o.check()); err != nil {
				return cli.Misuse(err)
			}
			progress, clear := progressOn(env.Stderr)
			result, err := fleet.Run(c.Context(), fleet.Config{
				Server: args[0], Etcd: args[1], Tries: tries, Window: window, Quick: quick, Progress: progress,
			})
			clear()
			if err != nil {
				return err
			}
			return json.NewEncoder(env.Stdout).Encode(result)
		},
	}
}
