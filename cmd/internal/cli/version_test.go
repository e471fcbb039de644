package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestVersion: --version prints the version that the build was given, and a word
// for it where the build was given none.
func TestVersion(t *testing.T) {
	defer func(was string) { given = was }(given)
	for _, row := range []struct{ given, want string }{
		{"", development},
		{"v1.2.3", "v1.2.3"},
	} {
		given = row.given
		var out strings.Builder
		root := Group(&cobra.Command{Use: "tool"})
		if code := Run(t.Context(), Env{Args: []string{"--version"}, Stdout: &out}, root); code != Done {
			t.Fatalf("exit code %d", code)
		}
		if got, want := out.String(), "tool version "+row.want+"\n"; got != want {
			t.Errorf("given %q: got %q, want %q", row.given, got, want)
		}
	}
}
