package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions/fleet/roster"
)

// TestRootFollowsNoLinksOfFleet: as TestRootFollowsNoLinks, for the files of a fleet's list.
func TestRootFollowsNoLinksOfFleet(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	top, err := os.MkdirTemp("", "links-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	roots, gate := filepath.Join(top, "root"), filepath.Join(top, "gate")
	secret := filepath.Join(roots, roster.FloorFile)
	key := "sallyport-clients-key-" + strings.Repeat("ab", 32) + "\n"
	text := "port_secret = \"x\"\nports = 3\nclients = \"fleet\"\n" + configtest.Web + "[fleet]\nname = \"a\"\nendpoints = [\"http://127.0.0.1:1\"]\ntimeout = \"100ms\"\n"
	err = errors.Join(os.Chmod(top, 0o755), os.Mkdir(roots, 0o755), os.WriteFile(secret, []byte(key), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	owned := func(path string, err error) error { return errors.Join(err, os.Lchown(path, serverUser, serverUser)) }
	fresh := func() error {
		os.RemoveAll(gate)
		state, keyFile, conf := filepath.Join(gate, "state"), filepath.Join(gate, "clients_key"), filepath.Join(gate, config.FileName)
		return errors.Join(owned(gate, os.Mkdir(gate, 0o755)), owned(state, os.Mkdir(state, 0o700)),
			owned(keyFile, os.WriteFile(keyFile, []byte(key), 0o600)), owned(conf, os.WriteFile(conf, []byte(text), 0o600)))
	}
	commands := [][]string{
		{"fleet-key", "new"}, {"fleet-key", "rotate"}, {"client", "list"}, {"client", "import", filepath.Join(gate, "new.txt")}, {"client", "accept"},
	}
	plants := map[string]func(path string) error{
		"link":          func(path string) error { return os.Symlink(secret, path) },
		"dangling link": func(path string) error { return os.Symlink(filepath.Join(roots, "made"), path) },
		"FIFO":          func(path string) error { return unix.Mkfifo(path, 0o600) },
	}
	for what, plant := range plants {
		for _, name := range []string{"clients_key", "clients_key.new", "state/fleet-clients", "state/fleet-clients.txt", "state", "new.txt"} {
			err := fresh()
			path := filepath.Join(gate, name)
			os.RemoveAll(path)
			if name == "state" && what == "link" {
				err = errors.Join(err, os.Symlink(roots, path)) // which has a file of that name
			} else {
				err = errors.Join(err, plant(path))
			}
			if err != nil {
				t.Fatal(err)
			}
			os.Lchown(path, serverUser, serverUser)
			for _, args := range commands {
				_, out := runCommand(t, append(args, "-c", filepath.Join(gate, config.FileName))...)
				if strings.Contains(out, "abab") {
					t.Errorf("%s at %s: %s prints the key: %s", what, name, args, out)
				}
			}
			info, err := os.Lstat(secret)
			if err != nil {
				t.Fatalf("%s at %s: %v", what, name, err)
			}
			now, _ := os.ReadFile(secret)
			if info.Mode() != 0o600 || string(now) != key {
				t.Fatalf("%s at %s: the file of root is changed: %v, %q", what, name, info.Mode(), now)
			}
			if entries, _ := os.ReadDir(roots); len(entries) != 1 {
				t.Fatalf("%s at %s: made in the directory of root: %v", what, name, entries)
			}
		}
	}
}
