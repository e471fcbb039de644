package durable

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	// A crash has left a new file, incomplete and readable for other users.
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

// TestOrder: the content is on stable storage before the name changes, and the
// new name before WriteFile returns. After a step that fails, no other follows.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	real := system
	defer func() { system = real }()
	var steps []string
	broken := errors.New("broken")
	breaks := ""
	step := func(name string, do func() error) error {
		steps = append(steps, name)
		if name == breaks {
			return broken
		}
		return do()
	}
	system.sync = func(f *os.File) error {
		if text, _ := os.ReadFile(f.Name()); string(text) != "new" {
			t.Errorf("%q is synced", text)
		}
		return step("sync", func() error { return real.sync(f) })
	}
	system.rename = func(from, to string) error {
		return step("rename", func() error { return real.rename(from, to) })
	}
	system.syncDirectory = func(path string) error {
		return step("directory "+path, func() error { return real.syncDirectory(path) })
	}
	all := []string{"sync", "rename", "directory " + dir}
	for i, name := range all[:2] {
		steps, breaks = nil, name
		if err := WriteFile(path, []byte("new"), 0o600); !errors.Is(err, broken) {
			t.Errorf("%s breaks: %v", name, err)
		}
		if text, _ := os.ReadFile(path); string(text) != "old" || !slices.Equal(steps, all[:i+1]) {
			t.Errorf("%s breaks: %q after %v", name, text, steps)
		}
		if _, err := os.Stat(path + ".new"); !os.IsNotExist(err) {
			t.Errorf("%s breaks: left behind: %v", name, err)
		}
	}
	steps, breaks = nil, ""
	if err := WriteFile(path, []byte("new"), 0o600); err != nil || !slices.Equal(steps, all) {
		t.Errorf("%v, steps %v", err, steps)
	}
	steps = nil
	if err := MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Error(err)
	}
	// All parents, because an earlier call may have made them and crashed.
	want := []string{"directory " + filepath.Join(dir, "a"), "directory " + dir}
	if !slices.Equal(steps[:2], want) || steps[len(steps)-1] != "directory /" {
		t.Errorf("directories: %v", steps)
	}
	breaks = "directory " + filepath.Dir(dir)
	if err := MkdirAll(filepath.Join(dir, "a", "b"), 0o700); !errors.Is(err, broken) {
		t.Errorf("a directory that cannot be synced: %v", err)
	}
	breaks = "directory " + dir
	if err := WriteFile(path, []byte("new"), 0o600); !errors.Is(err, broken) {
		t.Errorf("a directory that cannot be synced: %v", err)
	}
}

func TestWriteFileThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A directory has the name of the new file.
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
	// The new file cannot replace a directory.
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
