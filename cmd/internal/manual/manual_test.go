package manual

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func program() *cobra.Command {
	root := &cobra.Command{Use: "gate", Short: "Open a gate"}
	shut := &cobra.Command{Use: "close", Short: "Close the gate", Long: "Close the gate.\n\nIt stays closed.", Run: func(*cobra.Command, []string) {}}
	shut.Flags().BoolP("slowly", "s", false, "without a noise")
	shut.Flags().String("by", "", "the `name` of the guard")
	root.AddCommand(shut)
	return root
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	date := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	if err := Write(program(), dir, "v1.2.3", date); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"gate.1":       `"2026-01-02" "Sallyport v1.2.3"`,
		"gate-close.1": "Close the gate",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s:\n%s", name, want, text)
		}
		// Mandoc warns of a tab, and shows a blank line as a gap.
		if found := regexp.MustCompile(`\n\n|\t`).FindString(string(text)); found != "" {
			t.Errorf("%s has %q:\n%s", name, found, text)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "gate-close.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		".SH OPTIONS\n.TP\n\\fB--by\\fP=\"\"\nthe \\fBname\\fR of the guard\n.TP\n", ".TP\n\\fB-s\\fP, \\fB--slowly\\fP[=false]\nwithout a noise\n",
		"Close the gate.\n.PP\nIt stays closed.\n.SH OPTIONS",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("gate-close.1 lacks %q:\n%s", want, text)
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
