package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/faultfs"
	"sallyport/bench/netns"
	"sallyport/cmd/internal/cli"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
)

// writing are commands that write files, with the new file of each and the one that it
// replaces. All are in a directory DIR.
var writing = map[string]struct {
	args          []string
	made, changed string
}{
	"export":  {[]string{"state", "export", "--out", "DIR/nonces.export"}, "nonces.export", ""},
	"earlier": {[]string{"state", "export", "--format", "2", "--out", "DIR/nonces.db"}, "nonces.db", ""},
	"import":  {[]string{"state", "import", "DIR/kept.export"}, "state/nonces.db", ""},
	"add":     {[]string{"client", "add", "new1", "--server", "gate.example.org", "--out", "DIR/new1.toml"}, "new1.toml", "clients.txt"},
	"profile": {[]string{"client", "profile", "com1", "--server", "gate.example.org", "--out", "DIR/com1.toml"}, "com1.toml", ""},
}

// writable writes what the commands need into a directory.
func writable(t *testing.T, dir, command string) {
	t.Helper()
	export, err := os.ReadFile("../../sessions/state/testdata/formats/export-1")
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(rollConfig, `port_secret_file = "port_secret"`, `port_secret = "x"`, 1)
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "sallyportd.toml"), []byte(config), 0o600),
		os.WriteFile(filepath.Join(dir, "clients.txt"), []byte("# all\ncom1 secret-of-com1 7 services=web\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "kept.export"), export, 0o600),
		os.Mkdir(filepath.Join(dir, "state"), 0o700))
	if command == "export" || command == "earlier" {
		record, readErr := os.ReadFile("../../sessions/state/testdata/form3.db")
		err = errors.Join(err, readErr, os.WriteFile(filepath.Join(dir, "state", state.FileName), record, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// writes runs a command in a directory.
func writes(t *testing.T, dir, name string) error {
	t.Helper()
	var args []string
	for _, a := range writing[name].args {
		args = append(args, strings.Replace(a, "DIR", dir, 1))
	}
	var out bytes.Buffer
	c := command(cli.Env{Stdout: &out, Stderr: &out, Clock: clock.System()})
	c.SetArgs(append(args, "-c", filepath.Join(dir, "sallyportd.toml")))
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceErrors, c.SilenceUsage = true, true
	return c.ExecuteContext(t.Context())
}

// filesIn returns the files of a directory, but locks, by the names that a command may use:
// the file system with faults has no list of them.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	names := []string{"sallyportd.toml", "clients.txt", "kept.export", "state/nonces.db", "state/open-leases"}
	for _, w := range writing {
		names = append(names, w.made)
	}
	all := map[string]string{}
	for _, name := range names {
		for _, name := range []string{name, name + ".new"} { // see package durable
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil {
				all[name] = string(text)
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	return all
}

// failed checks the error of a command that could not write, and what it has left: each old
// file is whole, and there is neither the new one nor a temporary one. A file that the command
// replaces may be the new one.
func failed(t *testing.T, what, dir, name string, err error, reason syscall.Errno, before map[string]string) {
	t.Helper()
	hinted, ok := errors.AsType[interface {
		error
		Hint() string
	}](err)
	if !errors.Is(err, reason) || !strings.Contains(err.Error(), reason.Error()) || !strings.Contains(err.Error(), filepath.Dir(dir)) || !ok || hinted.Hint() == "" {
		t.Errorf("%s: the error is %v", what, err)
	}
	after := filesIn(t, dir)
	if changed := writing[name].changed; changed != "" && strings.HasPrefix(after[changed], before[changed]) {
		after[changed] = before[changed]
	}
	if !maps.Equal(after, before) {
		t.Errorf("%s: the files are %q, before: %q", what, slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
	}
}

// TestFullDisk makes each change to the disk fail in turn.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	disk := faultfs.Start(t)
	for name, w := range writing {
		dir := disk.Arm(0, syscall.ENOSPC)
		writable(t, dir, name)
		first := disk.Count() + 1
		if err := writes(t, dir, name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		complete := filesIn(t, dir)
		if complete[w.made] == "" {
			t.Fatalf("%s made no %s: %q", name, w.made, slices.Sorted(maps.Keys(complete)))
		}
		last := disk.Count()
		faults := 0
		for k := first; k <= last; k++ {
			dir := disk.Arm(k, syscall.ENOSPC)
			writable(t, dir, name)
			before := filesIn(t, dir)
			err := writes(t, dir, name)
			what := fmt.Sprintf("%s, fault %d of %d", name, k-first+1, last-first+1)
			if err != nil {
				faults++
				failed(t, what, dir, name, err, syscall.ENOSPC, before)
				continue
			}
			after := slices.Sorted(maps.Keys(filesIn(t, dir)))
			if !slices.Equal(after, slices.Sorted(maps.Keys(complete))) {
				t.Errorf("%s: no error, and the files are %q", what, after)
			}
		}
		if faults == 0 {
			t.Errorf("%s: none of the faults %d to %d is an error", name, first, last)
		}
	}
}

// TestReadOnlyDirectory: the commands change nothing on a file system that is mounted
// read-only, and their errors have the reason.
func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	for name := range writing {
		dir := t.TempDir()
		writable(t, dir, name)
		before := filesIn(t, dir)
		for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
			if err := unix.Mount(dir, dir, "", flags, ""); err != nil {
				t.Fatal(err)
			}
		}
		err := writes(t, dir, name)
		failed(t, name, dir, name, err, syscall.EROFS, before)
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
		if err := writes(t, dir, name); err != nil {
			t.Errorf("%s, when it is writable: %v", name, err)
		}
	}
}
