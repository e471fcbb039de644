package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
)

// TestCheckUser: what root can open, the user of the configuration may not.
func TestCheckUser(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	const user = 54321
	top, err := os.MkdirTemp("/tmp", "view")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	dir := filepath.Join(top, "gate")
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sallyportd.toml")
	files := map[string]string{
		"sallyportd.toml": "version = 1\nports = 3\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\nuser = \"54321\"\n" +
			"[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":8080\"\nroot = \"pages\"\n" +
			"[[service]]\nname = \"app\"\ntype = \"proxy\"\nlisten = \":8081\"\nupstream = \"unix:" + top + "/app\"\n",
		"port_secret": strings.Repeat("5", 40), "clients.txt": "", "pages/index.html": "", "state/nonces": "",
	}
	if err := os.MkdirAll(filepath.Join(dir, "pages"), 0o755); err != nil {
		t.Fatal(err)
	}
	own := func(name string, uid, gid int, mode os.FileMode) {
		t.Helper()
		p := filepath.Join(top, name)
		if err := os.Chown(p, uid, gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	app, err := net.Listen("unix", filepath.Join(top, "app"))
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	reset := func() {
		t.Helper()
		own("", 0, 0, 0o755)
		own("app", 0, 0, 0o666)
		for _, name := range []string{"", "state", "pages"} {
			own("gate/"+name, user, user, 0o700)
		}
		for name := range files {
			own("gate/"+name, user, user, 0o600)
		}
	}
	reset()
	cfg, err := config.Load(path, config.All)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		mode os.FileMode
		gid  int
		want string // in text or hint; empty: no finding
	}{
		{"gate/sallyportd.toml", 0o600, 0, "chown 54321 "},
		{"gate/sallyportd.toml", 0o640, user, ""},
		{"gate/port_secret", 0o600, 0, "port_secret: permission denied"},
		{"gate/clients.txt", 0o600, 0, "clients.txt: permission denied"},
		{"gate/pages", 0o700, 0, "pages"},
		{"gate/pages", 0o750, user, ""},
		{"gate/state", 0o700, 0, "state"},
		{"gate/state", 0o750, user, "write "},
		{"gate/state", 0o770, user, ""},
		{"gate/state/nonces", 0o600, 0, "state/nonces"},
		{"gate", 0o750, user, "gate: permission denied"}, // the admin socket
		{"app", 0o600, 0, "connect " + top + "/app"},
		{"app", 0o640, user, "add the user to the group"},
		{"app", 0o660, user, ""},
		{"", 0o700, 0, "let the user enter the directory " + top},
	} {
		reset()
		own(row.name, 0, row.gid, row.mode)
		found, err := checkUser(path, cfg)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range found {
			got += f.Text + "\n" + f.Hint + "\n"
		}
		if row.want == "" && got != "" || !strings.Contains(got, row.want) {
			t.Errorf("%s %04o: %q, want %q", row.name, row.mode, got, row.want)
		}
	}
	if os.Geteuid() != 0 {
		t.Error("the process has another user afterwards")
	}
}
