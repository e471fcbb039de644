package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"sallyport/sessions/durable"
)

// manCommand writes the manual pages of a program and all its commands.
func manCommand(env Env, root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a directory",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := durable.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the directory: %w", err)
			}
			date := built(env)
			header := doc.GenManHeader{Section: "1", Source: "Sallyport " + root.Version, Manual: "Sallyport", Date: &date}
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

// built returns the date of the manual pages: that of the build, so that the same
// pages come out of the same program, whenever it runs. SOURCE_DATE_EPOCH
// (https://reproducible-builds.org) has precedence over the commit that was built,
// and that over the program's file.
func built(env Env) time.Time {
	if seconds, err := strconv.ParseInt(env.Variable("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC()
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t.UTC()
			}
		}
	}
	path, err := os.Executable()
	if err != nil {
		return env.Now().UTC()
	}
	info, err := os.Stat(path)
	if err != nil {
		return env.Now().UTC()
	}
	return info.ModTime().UTC()
}
