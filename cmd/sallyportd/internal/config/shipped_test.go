package config

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestShippedFiles: the configurations in the packages and for containers are valid as they
// are, and when an administrator removes the marks of their comments.
func TestShippedFiles(t *testing.T) {
	mark := regexp.MustCompile(`(?m)^# (\[\[?[a-z]+\]|[a-z_]+ = )`)
	for _, name := range []string{"packages/example.toml", "sallyportd.toml"} {
		path := filepath.Join("../../../../container", name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !mark.Match(text) {
			t.Errorf("%s has no lines in comments", name)
		}
		for _, text := range [][]byte{text, mark.ReplaceAll(text, []byte("$1"))} {
			if _, err := Parse(path, text); err != nil {
				t.Errorf("%s: %v\n%s", name, err, text)
			}
		}
	}
}
