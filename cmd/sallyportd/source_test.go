package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestChangedSource: only a copy whose original has changed is reported.
func TestChangedSource(t *testing.T) {
	dir := t.TempDir()
	original, made := filepath.Join(dir, "a b.toml"), filepath.Join(dir, "made.toml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const text = "version = 1\n"
	line, err := sourceLine(original, text)
	if err != nil {
		t.Fatal(err)
	}
	write(original, text)
	write(made, line+"version = 1\n# edited\n")
	if from, changed := changedSource(made); changed || from != original {
		t.Errorf("a copy that was edited: %q, %v", from, changed)
	}
	write(original, text+"ports = 4\n")
	if from, changed := changedSource(made); !changed || from != original {
		t.Errorf("an original that was edited: %q, %v", from, changed)
	}
	if err := os.Remove(original); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{line, "", "version = 1\n", "# Made by \"sallyportd init\" from \"x\"\n"} {
		write(made, text)
		if from, changed := changedSource(made); changed {
			t.Errorf("%q: %q", text, from)
		}
	}
}
