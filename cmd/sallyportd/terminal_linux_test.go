package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/admin"
)

// TestForeignTextIsEscaped: text from other processes and files does not control
// the terminal: here a process answers at the admin socket, and a note was pasted
// into the clients file.
func TestForeignTextIsEscaped(t *testing.T) {
	const evil = "\x1b]0;title\x07\x1b[2J\u009b31m\u202ekcab\r"
	gate := filepath.Join(t.TempDir(), "gate")
	config := filepath.Join(gate, "sallyportd.toml")
	if code, out := runCommand(t, "init", gate, "--server", "gate.example"); code != 0 {
		t.Fatal(out)
	}
	note := strings.TrimSuffix(evil, "\r")
	line := "com1 0123456789abcdef0123456789abcdef 0 services=web note=" + note + "\n"
	if err := os.WriteFile(filepath.Join(gate, "clients.txt"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(gate, "sallyportd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/grants" {
			fmt.Fprintf(w, `{"client":%q,"operation":%q,"services":[%q],"address":"fe80::1%%\u001b[2J"}`+"\n",
				"c\u202e", "o\u009b", "s\u200b")
			fmt.Fprintf(w, `{"client":"\u001b[2J"}`+"\n")
			return
		}
		if r.URL.Path == "/v1/status" {
			json.NewEncoder(w).Encode(admin.Status{
				Release: evil, Config: evil, Clock: admin.Clock{Synchronised: new(bool), By: evil}, Tiers: []admin.Tier{{Name: evil, Level: evil}},
				Shield: &admin.Shield{Error: evil}, Carriers: map[string]string{evil: evil}, Services: []admin.Service{{Name: evil, Type: evil, Waits: evil}},
				Refusals: []admin.Refusal{{Reason: evil, Total: 1}}, Queues: []admin.Queue{{Name: evil, Waiting: -1}}, Latency: admin.Latency{Counts: []uint64{1}},
				State: admin.StateFile{Path: evil}, Fleet: &admin.Fleet{Name: evil, Error: evil},
			})
			return
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, evil)
	}))
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }
	for _, args := range [][]string{
		{"reload"}, {"watch"}, {"status"}, {"client", "list"}, {"client", "allow", "com1", "--all"}, {"client", "revoke", "com1"}, {"state", "verify"}, {"check"},
	} {
		for _, flags := range [][]string{nil, {"--json"}} {
			args := slices.Concat(args, flags, []string{"-c", config})
			_, out := runCommand(t, args...)
			if i := strings.IndexFunc(out, unprintable); i >= 0 || out == "" {
				t.Errorf("%s: at %d of %q", args, i, out)
			}
			if err := os.WriteFile(filepath.Join(gate, "clients.txt"), []byte(line), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestColoursOnATerminal: a command prints colours on a terminal, and only there,
// and not if the user does not want them.
func TestColoursOnATerminal(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	config := filepath.Join(gate, "sallyportd.toml")
	if code, out := runCommand(t, "init", gate, "--server", "gate.example"); code != 0 {
		t.Fatal(out)
	}
	if code, out := runCommand(t, "client", "list", "-c", config); code != 0 || strings.Contains(out, "\x1b") {
		t.Errorf("no terminal: %q", out)
	}
	for _, row := range []struct {
		args    string
		env     string
		colours string // the beginning of the line that has them
	}{
		{"check", "TERM=xterm", "\x1b[33mwarning:\x1b[0m the clients file names no client"},
		{"client list", "TERM=xterm", "\x1b[1mCLIENT\x1b[0m  "},
		{"client revoke com1", "TERM=xterm", "\x1b[31msallyportd:\x1b[0m there is no client com1"},
		{"check", "TERM=dumb", ""},
		{"check", "TERM=xterm NO_COLOR=1", ""},
		{"check", "TERM=xterm NO_COLOR=", "\x1b[33mwarning:"},
		{"check --json", "TERM=xterm", ""},
		{"client revoke com1 --json", "TERM=xterm", ""},
	} {
		out := onTerminal(t, strings.Fields(row.env), append(strings.Fields(row.args), "-c", config)...)
		colours := strings.Contains(out, "\x1b")
		if out == "" || colours != (row.colours != "") || !strings.Contains(out, row.colours) {
			t.Errorf("%s with %s:\n%q", row.args, row.env, out)
		}
	}
}

// onTerminal runs a command whose standard output and error are a terminal, and
// returns what it prints.
func onTerminal(t *testing.T, env []string, args ...string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Args[0] = "sallyportd"
	cmd.Env = append(env, "TZ=UTC")
	cmd.Stdout, cmd.Stderr = terminal, terminal
	err = cmd.Start()
	terminal.Close()
	if err != nil {
		t.Fatal(err)
	}
	// The read ends with an error (EIO) when no process has the terminal.
	out, _ := io.ReadAll(master)
	cmd.Wait()
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}
