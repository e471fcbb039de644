package manual

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func program() *cobra.Command {
	root := &cobra.Command{Use: "gate", Short: "Open a gate"}
	root.AddCommand(&cobra.Command{Use: "close", Short: "Close the gate", Run: func(*cobra.Command, []string) {}})
	return root
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	date := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	if err := Write(program(), dir, "v1.2.3", date); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"gate.1":       `"Jan 2026" "Sallyport v1.2.3"`,
		"gate-close.1": "Close the gate",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s:\n%s", name, want, text)
		}
	}
}

func TestWriteInFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(program(), filepath.Join(file, "man1"), "v1", time.Unix(0, 0)); err == nil {
		t.Error("no error for a directory within a file")
	}
}
