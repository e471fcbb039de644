// Package manual writes the manual pages of a program. Only builds with the tag
// "manual" link it: the packages and the image have the pages as files, so the programs
// themselves need no generator.
package manual

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"sallyport/sessions/durable"
)

// Write writes the pages of a program and of all its commands into a directory, which it
// makes. Equal arguments give equal files.
func Write(root *cobra.Command, dir, version string, date time.Time) error {
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	header := doc.GenManHeader{Section: "1", Source: "Sallyport " + version, Manual: "Sallyport", Date: &date}
	root.DisableAutoGenTag = true
	err := durable.AsOwner(filepath.Join(dir, root.Name()+".1"), func(path string) error {
		return doc.GenManTree(root, &header, filepath.Dir(path))
	})
	if err != nil {
		return fmt.Errorf("write the manual pages: %w", err)
	}
	return nil
}
