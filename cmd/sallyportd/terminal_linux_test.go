package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// TestNoTextOfOthersControlsTheTerminal: another process answers at the admin
// socket, and the clients file has a note that was pasted from elsewhere.
func TestNoTextOfOthersControlsTheTerminal(t *testing.T) {
	const evil = "\x1b]0;title\x07\x1b[2J\u009b31m\u202ekcab\r"
	gate := filepath.Join(t.TempDir(), "gate")
	config := filepath.Join(gate, "sallyportd.toml")
	if code, out := runCommand(t, "init", gate, "--server", "gate.example"); code != 0 {
		t.Fatal(out)
	}
	line := "com1 0123456789abcdef0123456789abcdef 0 services=web note=" + strings.TrimSuffix(evil, "\r") + "\n"
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
			fmt.Fprintf(w, `{"client":%q,"operation":%q,"services":[%q],"address":"fe80::1%%\u001b[2J"}`+"\n", "c\u202e", "o\u009b", "s\u200b")
			fmt.Fprintf(w, `{"client":"\u001b[2J"}`+"\n")
			return
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, evil)
	}))
	for _, args := range [][]string{{"reload"}, {"watch"}, {"watch", "--json"}, {"client", "list"}, {"client", "revoke", "com1"}, {"state", "verify"}, {"check"}} {
		_, out := runCommand(t, append(args, "-c", config)...)
		if i := strings.IndexFunc(out, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }); i >= 0 || out == "" {
			t.Errorf("%s: at %d of %q", args, i, out)
		}
	}
}
