package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// TestConfigurationChangesAtStart: the server reads its configuration again after it
// has dropped its privileges. If only the second version requires the firewall, no
// process keeps CAP_NET_ADMIN, and the server does not start.
func TestConfigurationChangesAtStart(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const head = "ports = 3\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\n"
	const ssh = "[[service]]\nname = \"ssh\"\ntype = \"firewall\"\nlisten = \":22\"\n"
	dir := t.TempDir()
	for name, text := range map[string]string{config.PortSecretName: "secret\n", config.ClientsName: "com1 s 0\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, config.FileName)
	// next replaces the file with a pipe, which can be read once.
	next := func() {
		t.Helper()
		if err := syscall.Mkfifo(path+".next", 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".next", path); err != nil {
			t.Fatal(err)
		}
	}
	next()
	cmd := exec.Command("/proc/self/exe", "serve", "-c", path)
	cmd.Args[0] = "sallyportd"
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{head + configtest.Web, head + ssh} {
		pipe, err := os.OpenFile(path, os.O_WRONLY, 0) // when it is read
		if err != nil {
			t.Fatal(err)
		}
		next()
		_, err = pipe.WriteString(text)
		if err := errors.Join(err, pipe.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err == nil || strings.Contains(out.String(), "msg=serving") ||
		!strings.Contains(out.String(), `service ssh, of type "firewall", requires the firewall, and no process was started`) {
		t.Errorf("%v\n%s", err, out.String())
	}
}
