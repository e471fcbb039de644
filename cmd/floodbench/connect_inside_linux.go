package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"sallyport/bench/connecttime"
	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

// measureConnections measures in a separate process, which is root in its namespaces.
func measureConnections(c *cobra.Command, env cli.Env, o connectOptions) error {
	server, done, err := findServer(c.Context(), o.server, env.Stderr)
	if err != nil {
		return err
	}
	defer done()
	program, done, err := findProgram(c.Context(), clientName, "--client", o.client, env.Stderr)
	if err != nil {
		return err
	}
	defer done()
	out, err := runIsolated(c, env, "", "connect-inside", server, program, strconv.Itoa(o.tries), strconv.FormatBool(o.quick))
	if err != nil {
		return err
	}
	var result connecttime.Result
	if err := gob.NewDecoder(bytes.NewReader(out)).Decode(&result); err != nil {
		return fmt.Errorf("read the result: %w", err)
	}
	if o.json {
		return json.NewEncoder(env.Stdout).Encode(result)
	}
	return result.Text(env.Stdout)
}

// connectInsideCommand is the process that connect starts to measure. It creates its own
// networks, wherever it runs.
func connectInsideCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "connect-inside SERVER CLIENT TRIES QUICK",
		Hidden: true,
		Args:   cobra.ExactArgs(4),
		RunE: func(c *cobra.Command, args []string) error {
			tries, err1 := strconv.Atoi(args[2])
			quick, err2 := strconv.ParseBool(args[3])
			if err := errors.Join(err1, err2); err != nil {
				return cli.Misuse(err)
			}
			progress, clear := progressOn(env.Stderr)
			result, err := connecttime.Run(c.Context(), connecttime.Config{
				Server: args[0], Client: args[1], Tries: tries, Quick: quick, Progress: progress, Load: loadProfile,
			})
			clear()
			if err != nil {
				return err
			}
			return gob.NewEncoder(env.Stdout).Encode(result)
		},
	}
}

// loadProfile reads a profile, and returns its record of nonces.
func loadProfile(path string) (client.Profile, client.NonceFile, error) {
	p, err := profile.Load(path)
	if err != nil || !p.HasSequence() {
		return p, client.NonceFile{}, err
	}
	nonces, err := profile.Nonces(context.Background(), p)
	return p, nonces, err
}
