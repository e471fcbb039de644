// Package generate holds the tool that makes the status page's code from page.templ.
package generate

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGenerated: the code in the repository is what the tool makes of the page.
func TestGenerated(t *testing.T) {
	dir := t.TempDir()
	source, err := os.ReadFile("../page.templ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "page.templ"), source, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "tool", "templ", "generate", "-path", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "page_templ.go"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../page_templ.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("page_templ.go is not what its source gives: go generate ./cmd/sallyportd/internal/statuspage")
	}
}
