package main

import (
	"cmp"
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
			return writePage(env.Stdout, cmp.Or(out, filepath.Dir(args[1])), "compare.html", map[string]func(io.Writer) error{
				"compare.html": func(w io.Writer) error { return report.CompareHTML(w, results[0], results[1]) },
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "the `directory` for compare.html; created if it does not exist (default: that of AFTER.json)")
	return c
}
