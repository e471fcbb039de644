package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/faultfs"
	"sallyport/bench/netns"
	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock"
	"sallyport/sessions/durable"
)

const rollConfig = `ports = 3
port_secret_file = "port_secret"
clients = "clients.txt"
[[service]]
name = "web"
type = "web"
listen = ":8080"
`

// rollFiles writes a configuration and a port secret into a directory.
func rollFiles(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "c.toml")
	err := errors.Join(os.WriteFile(path, []byte(rollConfig), 0o640),
		os.WriteFile(filepath.Join(dir, "port_secret"), []byte("the-first-secret\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func roll(t *testing.T, path string) error {
	t.Helper()
	cfg, err := config.Load(path, config.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	env := cli.Env{Clock: clock.System()}
	return rollPortSecret(cfg, env, time.Now().Add(time.Hour).UTC().Truncate(time.Second))
}

// unchanged fails the test if a roll has left something behind.
func unchanged(t *testing.T, what, path string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || string(text) != rollConfig {
		t.Errorf("%s: %v\n%s", what, err, text)
	}
	for _, name := range []string{"c.toml.new", "port_secret.new", "port_secret.previous", "port_secret.previous.new"} {
		if _, err := os.Lstat(filepath.Join(filepath.Dir(path), name)); err == nil {
			t.Errorf("%s: %s is left", what, name)
		}
	}
}

// TestFailedRoll makes each change to the disk fail in turn. Either the roll is
// complete, or nothing of it is left.
func TestFailedRoll(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	disk := faultfs.Start(t)
	probe := rollFiles(t, disk.Arm(0, syscall.ENOSPC))
	before := disk.Count()
	if err := roll(t, probe); err != nil {
		t.Fatal(err)
	}
	for k := before + 1; k <= disk.Count(); k++ {
		path := rollFiles(t, disk.Arm(k, syscall.ENOSPC))
		err := roll(t, path)
		cfg, loadErr := config.Load(path, config.Secrets)
		switch {
		case loadErr != nil:
			t.Fatalf("fault %d: %v", k, loadErr)
		case cfg.PortSecret.Current == "the-first-secret":
			if err == nil {
				t.Errorf("fault %d: no error", k)
			}
			unchanged(t, err.Error(), path)
		case cfg.PortSecret.Previous != "the-first-secret":
			t.Errorf("fault %d: the ports of the old secret are closed: %v", k, err)
		}
	}
}

// TestMountedFiles: a file that is a mount itself is not written, and the error
// names the mount.
func TestMountedFiles(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	for _, name := range []string{"c.toml", "port_secret"} {
		path := rollFiles(t, t.TempDir())
		file := filepath.Join(filepath.Dir(path), name)
		if err := unix.Mount(file, file, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		err := roll(t, path)
		var mounted *durable.MountedError
		if !errors.As(err, &mounted) || mounted.Path != file || !strings.Contains(mounted.Hint(), "mount the directory") {
			t.Errorf("%s: %v", name, err)
		}
		unchanged(t, name, path)
		if err := unix.Unmount(file, 0); err != nil {
			t.Fatal(err)
		}
		if err := roll(t, path); err != nil {
			t.Errorf("%s, without its mount: %v", name, err)
		}
	}
}
