package cli

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"sallyport/sessions/durable"
)

// manCommand writes the manual pages of a program and all its commands.
func manCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a directory",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := durable.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the directory: %w", err)
			}
			// The same pages come out of the same program, whenever it runs.
			epoch := time.Unix(0, 0)
			header := doc.GenManHeader{Section: "1", Source: "Sallyport " + root.Version, Manual: "Sallyport", Date: &epoch}
			root.DisableAutoGenTag = true
			err := durable.AsOwner(filepath.Join(args[0], root.Name()+".1"), func(path string) error {
				return doc.GenManTree(root, &header, filepath.Dir(path))
			})
			if err != nil {
				return fmt.Errorf("write the manual pages: %w", err)
			}
			return nil
		},
	}
}
