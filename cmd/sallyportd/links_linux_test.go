package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/bench/race"
	"sallyport/cmd/internal/cli"
	"sallyport/sessions/clock"
)

// serverUser owns the directory of the server in this test.
const serverUser = 65534

// runCommand runs a command as this process, and returns what it prints.
func runCommand(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	// A command that blocks has failed.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var text strings.Builder
	env := cli.Env{Args: args, Stdin: strings.NewReader(""), Stdout: &text, Stderr: &text, Clock: clock.System(), LookupIP: testNames, HandOver: func() {}}
	code = cli.Run(ctx, env, command(env))
	return code, text.String()
}

// TestRootFollowsNoLinks: the server's user replaces each file that the commands of
// root use, with a link or a FIFO. The commands change, read and make no file
// outside of the directory.
func TestRootFollowsNoLinks(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	top, err := os.MkdirTemp("", "links-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	roots, gate := filepath.Join(top, "root"), filepath.Join(top, "gate")
	secret := filepath.Join(roots, "shadow")
	err = errors.Join(os.Chmod(top, 0o755), os.Mkdir(roots, 0o755), os.WriteFile(secret, []byte("hunter2 of root\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(gate, "sallyportd.toml")
	fresh := func() {
		t.Helper()
		os.RemoveAll(gate)
		if err := errors.Join(os.Mkdir(gate, 0o755), os.Chown(gate, serverUser, serverUser)); err != nil {
			t.Fatal(err)
		}
		if code, out := runCommand(t, "init", gate, "--server", "gate.example"); code != 0 {
			t.Fatal(out)
		}
		if code, out := runCommand(t, "client", "add", "com1", "-c", config); code != 0 {
			t.Fatal(out)
		}
	}
	fresh()
	err = filepath.WalkDir(gate, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != serverUser {
			t.Errorf("%s does not belong to the owner of the directory", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	commands := [][]string{
		{"client", "list"}, {"client", "add"}, {"client", "add", "--out", filepath.Join(gate, "profile.toml")},
		{"client", "profile", "com1"}, {"client", "allow", "com1", "web"}, {"client", "rotate", "com1"}, {"client", "revoke", "com1"},
		{"check"}, {"state", "verify"}, {"state", "export"}, {"state", "reset"}, {"port-secret", "roll"}, {"reload"}, {"watch"}, {"firewall", "load"},
	}
	plants := map[string]func(path string) error{
		"link":          func(path string) error { return os.Symlink(secret, path) },
		"dangling link": func(path string) error { return os.Symlink(filepath.Join(roots, "made"), path) },
		"hard link":     func(path string) error { return os.Link(secret, path) },
		"FIFO":          func(path string) error { return unix.Mkfifo(path, 0o600) },
	}
	if race.Enabled { // it finds nothing here, and takes minutes
		plants = map[string]func(path string) error{"link": plants["link"]}
	}
	for what, plant := range plants {
		for _, name := range []string{
			"state/nonces.db.lock", "state/nonces.db.new", "state/nonces.db", "clients.txt.lock", "clients.txt.new", "clients.txt", "port_secret",
			"port_secret.new", "port_secret.previous", "port_secret.previous.new", "sallyportd.toml", "sallyportd.toml.lock", "sallyportd.toml.new", "sallyportd.sock", "profile.toml", "state",
		} {
			fresh()
			path := filepath.Join(gate, name)
			if what == "link" && name == "state" {
				os.RemoveAll(path)
				if err := os.Symlink(roots, path); err != nil {
					t.Fatal(err)
				}
			} else {
				os.RemoveAll(path)
				if err := plant(path); err != nil {
					t.Fatal(err)
				}
			}
			if what != "hard link" {
				if err := os.Lchown(path, serverUser, serverUser); err != nil {
					t.Fatal(err)
				}
			}
			for _, args := range commands {
				_, out := runCommand(t, append(args, "-c", config)...)
				if strings.Contains(out, "hunter2") {
					t.Errorf("%s at %s: %s prints it: %s", what, name, args, out)
				}
			}
			info, err := os.Lstat(secret)
			if err != nil {
				t.Fatalf("%s at %s: %v", what, name, err)
			}
			text, _ := os.ReadFile(secret)
			uid := info.Sys().(*syscall.Stat_t).Uid
			if uid != 0 || info.Mode() != 0o600 || string(text) != "hunter2 of root\n" {
				t.Fatalf("%s at %s: the file belongs to %d, %v, %q", what, name, uid, info.Mode(), text)
			}
			if entries, _ := os.ReadDir(roots); len(entries) != 1 {
				t.Fatalf("%s at %s: made in the directory of root: %v", what, name, entries)
			}
			leaked := filepath.WalkDir(gate, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				if text, _ := os.ReadFile(path); strings.Contains(string(text), "hunter2") && what != "hard link" {
					t.Errorf("%s at %s: a copy in %s", what, name, path)
				}
				return nil
			})
			if leaked != nil {
				t.Error(leaked)
			}
		}
	}
}

// TestReadersMakeNoLock: a command that only reads leaves no lock file behind.
func TestReadersMakeNoLock(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	config := filepath.Join(gate, "sallyportd.toml")
	if code, out := runCommand(t, "init", gate, "--server", "gate.example"); code != 0 {
		t.Fatal(out)
	}
	for _, args := range [][]string{{"client", "list"}, {"check"}, {"state", "verify"}, {"state", "export"}} {
		if code, out := runCommand(t, append(args, "-c", config)...); code != 0 {
			t.Errorf("%s: %s", args, out)
		}
	}
	for _, dir := range []string{gate, filepath.Join(gate, "state")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".lock") {
				t.Errorf("left behind: %s", e.Name())
			}
		}
	}
}
