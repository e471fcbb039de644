package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"sallyport/bench/hostile"
	"sallyport/cmd/internal/cli"
)

const (
	minHostile     = 1000 // datagrams a piece
	maxHostile     = 20_000_000
	minHostileRate = 1000.0
	maxHostileRate = 1e6
	maxPieces      = 1000
)

type hostileOptions struct {
	pieces, count int
	rate          float64
}

func (o hostileOptions) check() error {
	switch {
	case o.pieces < 1 || o.pieces > maxPieces:
		return fmt.Errorf("--pieces: got %d, expected 1 to %d", o.pieces, maxPieces)
	case o.count < minHostile || o.count > maxHostile:
		return fmt.Errorf("--count: got %d, expected %d to %d", o.count, minHostile, maxHostile)
	case o.rate < minHostileRate || o.rate > maxHostileRate:
		return fmt.Errorf("--rate: got %g, expected %g to %g", o.rate, minHostileRate, maxHostileRate)
	}
	return nil
}

func hostileCommand(env cli.Env) *cobra.Command {
	var o hostileOptions
	var server, path string
	c := &cobra.Command{
		Use:   "hostile",
		Short: "Send invalid datagrams in large numbers, and account for each",
		Long: `Send invalid datagrams in large numbers, and account for each.

A piece has the same number of datagrams of each class: each rule broken, known
identifiers with wrong MACs, replays of knocks that have opened a service, and these
with a change. Fails if the server grants access, or if the growth of its counters is
not the number of datagrams that were sent.

With --totals, the datagrams of each piece without a failure are added to a file.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return cli.Misuse(err)
			}
			var totals hostile.Totals
			if path != "" {
				var err error
				if totals, err = hostile.Read(path); err != nil {
					return err
				}
			}
			program, done, err := findServer(c.Context(), server, env.Stderr)
			if err != nil {
				return err
			}
			defer done()
			out, err := runIsolated(c, env, "", "hostile-inside", program,
				strconv.Itoa(o.pieces), strconv.Itoa(o.count), strconv.FormatFloat(o.rate, 'g', -1, 64))
			if err != nil {
				return err
			}
			var pieces []hostile.Piece
			if err := json.Unmarshal(out, &pieces); err != nil {
				return fmt.Errorf("read the results: %w", err)
			}
			failure := ""
			for _, p := range pieces {
				if failure = p.Failure(); failure == "" {
					totals.Add(p)
				}
			}
			if path != "" {
				if err := totals.Write(path); err != nil {
					return fmt.Errorf("write the totals: %w", err)
				}
			}
			if err := totals.WriteText(env.Stdout); err != nil {
				return err
			}
			if failure != "" {
				return errors.New("the run failed: " + failure)
			}
			return nil
		},
	}
	c.Flags().StringVar(&server, "server", "", serverUsage)
	c.Flags().IntVar(&o.pieces, "pieces", 1, "how many pieces to send")
	c.Flags().IntVar(&o.count, "count", 1_000_000, "the datagrams of a piece")
	c.Flags().Float64Var(&o.rate, "rate", 100_000, "datagrams a second")
	c.Flags().StringVar(&path, "totals", "", "the `file` with the sums so far, to which the pieces are added; created if it does not exist")
	return c
}

// hostileInsideCommand is the process that hostile starts.
func hostileInsideCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "hostile-inside SERVER PIECES COUNT RATE",
		Hidden: true,
		Args:   cobra.ExactArgs(4),
		RunE: func(c *cobra.Command, args []string) error {
			pieces, err1 := strconv.Atoi(args[1])
			count, err2 := strconv.Atoi(args[2])
			rate, err3 := strconv.ParseFloat(args[3], 64)
			if err := errors.Join(err1, err2, err3); err != nil {
				return cli.Misuse(err)
			}
			progress, clear := progressOn(env.Stderr)
			results, err := hostile.Run(c.Context(), hostile.Config{
				Server: args[0], Pieces: pieces, Count: count, Rate: rate, Progress: progress,
			})
			clear()
			if err != nil {
				return err
			}
			return json.NewEncoder(env.Stdout).Encode(results)
		},
	}
}
