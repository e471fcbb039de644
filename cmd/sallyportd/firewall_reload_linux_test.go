package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/netns"
)

// TestFirewallReloadByRoot: root asks a holder that runs as another user. A third user may
// not.
func TestFirewallReloadByRoot(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	dir, err := os.MkdirTemp("", "hold-") // the directories of t.TempDir are for one user
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	makeGuests(t, dir)
	path, state := filepath.Join(dir, "sallyportd.toml"), filepath.Join(dir, "state")
	text := "ports = 2\nuser = \"65534\"\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\n[[service]]\nname = \"ssh\"\ntype = \"firewall\"\nlisten = \":22\"\n"
	err = errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, 0o644), os.Chmod(dir, 0o755), os.MkdirAll(state, 0o700))
	for _, name := range []string{dir, path, state} {
		err = errors.Join(err, os.Chown(name, serverUser, serverUser))
	}
	if err != nil {
		t.Fatal(err)
	}
	logPath := filepath.Join(t.TempDir(), "log")
	to, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	log := func() string {
		text, _ := os.ReadFile(logPath)
		return string(text)
	}
	held := exec.Command("/proc/self/exe", "firewall", "hold", "-c", path)
	held.Args[0], held.Stderr = "sallyportd", to
	if err := held.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		held.Process.Signal(syscall.SIGTERM)
		held.Wait()
	}()
	netns.Until(t, "the holder", func() bool { return strings.Contains(log(), "holding the firewall") }, log)
	more := text + "[[service]]\nname = \"more\"\ntype = \"firewall\"\nlisten = \":23\"\n"
	if err := os.WriteFile(path, []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("/proc/self/exe", "firewall", "reload", "--trial", "0", "-c", path)
	other.Args[0] = "sallyportd"
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65533, Gid: 65533}}
	out, _ := other.CombinedOutput()
	code := other.ProcessState.ExitCode()
	if code != exitUnreachable || !bytes.Contains(out, []byte("no permission to open the socket")) {
		t.Errorf("a third user: exit code %d, %s", code, out)
	}
	code, said := runCommand(t, "firewall", "reload", "--trial", "1h", "-c", path, "--json")
	if code != 0 || !strings.Contains(said, `"restart":true,"on_trial":["more"],"until":"`) {
		t.Errorf("root: exit code %d, %s\n%s", code, said, log())
	}
}
