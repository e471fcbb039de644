package durable

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	// A crash has left a new file, half written and open to others.
	if err := os.WriteFile(path+".new", []byte("half"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestWriteFileThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Something that is not a file stands in the new one's way.
	if err := os.MkdirAll(filepath.Join(path+".new", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("two"), 0o600); err == nil {
		t.Error("no error")
	}
	if got, _ := os.ReadFile(path); string(got) != "one" {
		t.Errorf("got %q", got)
	}
	if err := WriteFile(filepath.Join(dir, "none", "file"), nil, 0o600); err == nil {
		t.Error("a missing directory: no error")
	}
	// The new file cannot take the place of a directory.
	if err := os.MkdirAll(filepath.Join(dir, "full", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "full"), nil, 0o600); err == nil {
		t.Error("a directory replaced")
	}
	if _, err := os.Stat(filepath.Join(dir, "full.new")); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}
