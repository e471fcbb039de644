package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/terminal"
	"sallyport/cmd/sallyportd/internal/legacy"
)

func importCommand(env cli.Env) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "import DIR",
		Short: "Turn the files of the protocol's first implementation into ours",
		Long: `Turn the files of the protocol's first implementation into ours.

DIR holds server.properties, service.properties and trusted_clients.txt, or
client.properties, or all of them (paper, Listings 1 to 4). They stay as they
are; files that are there already are never overwritten.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				out = args[0]
			}
			files, warnings, err := legacy.Read(args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			if err := writeNew(out, files); err != nil {
				return cli.Misuse(err)
			}
			for _, f := range files {
				fmt.Fprintf(env.Stdout, "made %s\n", filepath.Join(out, f.Name))
			}
			for _, w := range warnings {
				fmt.Fprintf(env.Stdout, "warning: %s\n", terminal.Lines(w))
			}
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "the `directory` for our files (default DIR)")
	return c
}
