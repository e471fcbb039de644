package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
)

// TestProcessNames: ps, ss and pgrep find the server and its holder as sallyportd,
// although both were executed by the link /proc/self/exe. "check" reports how the
// kernel restricts them.
func TestProcessNames(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	dir := t.TempDir()
	from := filepath.Join(dir, "from.toml")
	text := "ports = 2\nlisten = [\"127.0.0.1\"]\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\n" +
		"[[service]]\nname = \"ssh\"\ntype = \"firewall\"\nlisten = \":2222\"\n"
	if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := sallyportd("init", filepath.Join(dir, "made"), "--from", from).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path := filepath.Join(dir, "made", config.FileName)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	server := sallyportd("serve", "-c", path)
	server.Stderr = log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Signal(os.Interrupt)
	written := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text)
	}
	netns.Until(t, "the server serves", func() bool { return strings.Contains(written(), "msg=serving") }, written)
	serverID := fmt.Sprint(server.Process.Pid)
	for id, want := range map[string]string{
		serverID:             "sallyportd serve -c " + path,
		childOf(t, serverID): "sallyportd firewall-helper -c " + path,
	} {
		name, _ := os.ReadFile("/proc/" + id + "/comm")
		line, _ := os.ReadFile("/proc/" + id + "/cmdline")
		command := strings.Join(strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"), " ")
		if string(name) != "sallyportd\n" || command != want {
			t.Errorf("process %s: name %q, command %q; want sallyportd and %q", id, name, command, want)
		}
	}
	out, err := sallyportd("check", "-c", path).CombinedOutput()
	const has = `\(no_new_privs, seccomp(, Landlock \d+)?\)` // each as far as the kernel has it
	want := regexp.MustCompile("serve " + has + "; firewall-helper " + has + "\n")
	if err != nil || !want.Match(out) {
		t.Errorf("check: %v\n%s\nwant %q", err, out, want)
	}
}

// sallyportd returns a command that runs this program as sallyportd.
func sallyportd(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "sallyportd"
	return cmd
}

// childOf returns the only child of a process.
func childOf(t *testing.T, parent string) string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/" + parent + "/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, path := range tasks {
		text, _ := os.ReadFile(path)
		children = append(children, strings.Fields(string(text))...)
	}
	if len(children) != 1 {
		t.Fatalf("expected one child, got %v", children)
	}
	return children[0]
}
