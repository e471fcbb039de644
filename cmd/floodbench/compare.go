package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport/bench/report"
	"sallyport/cmd/internal/cli"
)

func compareCommand(env cli.Env) *cobra.Command {
	out := ""
	c := &cobra.Command{
		Use:   "compare BEFORE.json AFTER.json",
		Short: "Compare two results",
		Long: `Compare two results.

Prints a table, and writes compare.html: the page of the report with both results
side by side.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			var results [2]report.Result
			for i, path := range args {
				var err error
				if results[i], err = readResult(path); err != nil {
					return err
				}
			}
			if err := report.Compare(env.Stdout, results[0], results[1]); err != nil {
				return err
			}
			if out == "" {
				out = filepath.Dir(args[1])
			}
			err := writeFiles(out, map[string]func(io.Writer) error{
				"compare.html": func(w io.Writer) error { return report.CompareHTML(w, results[0], results[1]) },
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, "\nreport: %s\n", filepath.Join(out, "compare.html"))
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "the `directory` for compare.html (default: that of AFTER.json)")
	return c
}
