package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sallyport/bench/report"
	"sallyport/cmd/internal/cli"
)

func compareCommand(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "compare BEFORE.json AFTER.json",
		Short: "Compare two results",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			var results [2]report.Result
			for i, path := range args {
				f, err := os.Open(path)
				if err != nil {
					return cli.Misuse(fmt.Errorf("read the result: %w", err))
				}
				results[i], err = report.Read(f)
				f.Close()
				if err != nil {
					return cli.WithHint(cli.Misuse(fmt.Errorf("%s: %w", path, err)),
						`use a result.json that "floodbench run" has written`)
				}
			}
			return report.Compare(env.Stdout, results[0], results[1])
		},
	}
}
