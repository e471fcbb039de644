package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/netns"
)

// TestReachAsOtherUser: a user who may read the configuration, and may not open the
// socket of the server, learns that from each command, and not that no server runs.
func TestReachAsOtherUser(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	dir, err := os.MkdirTemp("", "reach-") // the directories of t.TempDir are for one user
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	makeGuests(t, dir)
	text := "ports = 2\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\n" + serviceText("a", "tcp", ":8080", "closed", "")
	path := dir + "/sallyportd.toml"
	err = errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, 0o644), os.Chmod(dir, 0o755))
	if err != nil {
		t.Fatal(err)
	}
	v := startVictim(t, dir)
	defer v.stop(t, 1)
	const other = 65534
	for _, command := range []string{"status", "reload", "confirm", "watch", "trace com1", "lease list", "lease close --all"} {
		c := exec.CommandContext(t.Context(), "/proc/self/exe", append(strings.Fields(command), "-c", path, "--json")...)
		c.Args[0] = "sallyportd"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		c.Run()
		code, want := c.ProcessState.ExitCode(), `"error":"no permission to open the admin socket `+dir
		if code != exitUnreachable || !strings.Contains(out.String(), `"reason":"permission"`) || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit code %d, %s", command, code, out.String())
		}
	}
}
