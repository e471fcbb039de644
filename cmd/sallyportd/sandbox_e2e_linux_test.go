package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
)

// confinedConfig requires a holder and a capturer.
const confinedConfig = `ports = 2
port_secret_file = "port_secret"
clients = "clients.txt"
[challenge]
[[service]]
name = "ssh"
type = "firewall"
listen = ":22"
[[operation]]
id = "ssh-com1"
secret = "the secret of the operation"
service = "ssh"
open_for = "10s"
client = "com1"
`

// sandboxed returns what the processes of the server report, by their names.
func sandboxed(t *testing.T, path string) (landlock map[string]int, st admin.Status) {
	t.Helper()
	_, text := runCommand(t, "status", "--json", "-c", path)
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	landlock = map[string]int{}
	for _, r := range st.Sandbox {
		if !r.NoNewPrivs || !r.Seccomp {
			t.Errorf("%s is not restricted: %+v", r.Process, r)
		}
		landlock[r.Process] = r.Landlock
	}
	return landlock, st
}

// TestEachProcessReports: the server, the capturer and the holder report what is in force in
// them, with a holder of the server and with one that runs by itself. "check" prints it.
func TestEachProcessReports(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir, outside := t.TempDir(), t.TempDir()
	makeGuests(t, dir)
	path := filepath.Join(dir, "sallyportd.toml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(confinedConfig)
	reports := func(child string) {
		t.Helper()
		landlock, st := sandboxed(t, path)
		for _, process := range []string{"server", "capturer", "holder"} {
			if got, ok := landlock[process]; !ok || (got > 0) != (landlock["server"] > 0) {
				t.Errorf("%s does not report: %+v", process, st.Sandbox)
			}
		}
		_, text := runCommand(t, "check", "-c", path)
		line := slices.IndexFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, "processes") })
		if line < 0 {
			t.Fatalf("check prints no process:\n%s", text)
		}
		printed := strings.Split(text, "\n")[line]
		for _, command := range []string{"serve", "capture-helper", child} {
			if !strings.Contains(printed, command+" (no_new_privs, seccomp") {
				t.Errorf("check does not print %s: %s", command, printed)
			}
		}
		if n := strings.Count(printed, "Landlock"); landlock["server"] > 0 && n != 3 {
			t.Errorf("Landlock is not printed for three processes: %s", printed)
		}
	}
	v := startTool(t, dir, nil, "serve")
	awaitLog(t, v, "msg=serving", 1)
	reports("firewall-helper")
	v.end(t, syscall.SIGTERM)

	h := startTool(t, dir, nil, "firewall", "hold")
	awaitLog(t, h, `msg="holding the firewall"`, 1)
	v = startTool(t, dir, nil, "serve")
	awaitLog(t, v, "msg=serving", 1)
	reports("firewall hold")
	holderKeeps(t, path, outside, write, v, h)
	v.end(t, syscall.SIGTERM)
	h.end(t, syscall.SIGTERM)
}

// holderKeeps checks that a reload of a file outside changes nothing in the holder and in
// the server.
func holderKeeps(t *testing.T, path, outside string, write func(string), v, h *victim) {
	t.Helper()
	if landlock, _ := sandboxed(t, path); landlock["holder"] == 0 {
		return // this kernel has no Landlock
	}
	secret := filepath.Join(outside, "port_secret")
	if err := os.WriteFile(secret, []byte("another secret of the ports"), 0o400); err != nil {
		t.Fatal(err)
	}
	write(strings.Replace(confinedConfig, `"port_secret"`, `"`+secret+`"`, 1))
	for _, command := range [][]string{{"firewall", "reload"}, {"reload"}} {
		process := map[bool]string{true: "holder", false: "server"}[len(command) == 2]
		code, text := runCommand(t, append(command, "-c", path)...)
		if code == 0 || !strings.Contains(text, outside+" is outside of the directories that the running "+process+" may use until it restarts") {
			t.Errorf("%v: exit code %d, %s", command, code, text)
		}
	}
	awaitLog(t, h, `msg="nothing reloaded" what=firewall`, 1)
	awaitLog(t, v, `msg="nothing reloaded" what=configuration`, 1)
	write(confinedConfig)
	for _, command := range [][]string{{"firewall", "reload"}, {"reload"}} {
		if code, text := runCommand(t, append(command, "-c", path)...); code != 0 {
			t.Errorf("the settings of before: %v: exit code %d, %s", command, code, text)
		}
	}
}
