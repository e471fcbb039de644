//go:build manual

package cli

import (
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/manual"
)

func init() { addManual = withManual }

// withManual adds the command that writes the manual pages of a program and all its
// commands. The pages name the version of the programs to which they belong: this
// program can be built once for several.
func withManual(env Env, root *cobra.Command) {
	root.AddCommand(&cobra.Command{
		Use:    "man DIR VERSION",
		Short:  "Write the manual pages of a version into a directory",
		Hidden: true, // the pages are those of programs without this command
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return manual.Write(root, args[0], args[1], built(env))
		},
	})
}

// built returns the date of the manual pages: SOURCE_DATE_EPOCH
// (https://reproducible-builds.org), or else that of the commit that was built. In a
// build without .git it is the present.
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
	return env.Now().UTC()
}
