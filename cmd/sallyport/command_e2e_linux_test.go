package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// recorded is a line that a command has written about itself.
type recorded struct {
	PID, UID int
	Dir      string
	Env      []string
}

// value returns a variable.
func (r recorded) value(name string) string {
	for _, v := range r.Env {
		if key, value, _ := strings.Cut(v, "="); key == "SALLYPORT_"+name {
			return value
		}
	}
	return ""
}

// records returns what commands have written to a file of "made".
func (n *network) records(name string) (list []recorded) {
	n.t.Helper()
	text, err := os.ReadFile(n.path("made/" + name))
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		var r recorded
		if err := json.Unmarshal(line, &r); err != nil {
			n.t.Fatalf("%q: %v", line, err)
		}
		list = append(list, r)
	}
	return list
}

// TestCommands: commands that succeed, hang, fail, and flood their output. A service
// opens only after its opening command has succeeded; a closing command that fails is
// tried again, and leaves nothing open.
func TestCommands(t *testing.T) {
	misbehave, ok := enterPrograms(t)
	if !ok {
		return
	}
	services := []struct {
		name, open, close string // the arguments of its commands; "-": it has no such command
		opens             bool
	}{
		{name: "plain", open: "", close: "", opens: true},
		{name: "flood", open: "-flood 300000", close: "-flood 300000", opens: true},
		{name: "orphans", open: "-children 2 -ignore-term", close: "-", opens: true},
		{name: "hang", open: "-hang -ignore-term -children 1", close: ""},
		{name: "fail", open: "-exit 7", close: ""},
		{name: "unclosed", open: "-", close: "-exit 7", opens: true},
		{name: "stuck", open: "-", close: "-hang -ignore-term", opens: true},
	}
	address := map[string]string{}
	n := newProgramNetwork(t, func(n *network) string {
		var text strings.Builder
		for i, s := range services {
			address[s.name] = fmt.Sprintf("%s:%d", asClient, 8001+i)
			limit := "1m" // a busy machine is slow
			if strings.Contains(s.open+s.close, "-hang") {
				limit = "3s" // it must have recorded itself by then
			}
			fmt.Fprintf(&text, `[[service]]
name = %q
type = "web"
listen = ":%d"
open_for = "10m"
command_user = %q
command_limit = %q
stop_after = "300ms"
program_dir = %q
`, s.name, 8001+i, commandUser, limit, n.path("made"))
			for key, args := range map[string]string{"on_open": s.open, "on_close": s.close} {
				if args != "-" {
					command := append([]string{misbehave, "-record", n.path("made/" + s.name)}, strings.Fields(args)...)
					fmt.Fprintf(&text, "%s = [\"%s\"]\n", key, strings.Join(command, `", "`))
				}
			}
		}
		return text.String()
	}, "alice")
	n.serve()
	var names []string
	n.run(n.client, n.path("sallyport"), "knock", n.path("alice.toml"), "--watch", "none")
	for _, s := range services {
		if s.opens {
			names = append(names, s.name)
			n.await(s.name+" to open", func() bool { return n.logged("msg=opened service="+s.name+" ") > 0 })
		} else {
			n.await("the report of "+s.name, func() bool { return n.logged("msg=\"opening command failed\" service="+s.name+" ") > 0 })
			if n.logged("msg=opened service="+s.name+" ") > 0 || n.reaches(n.client, address[s.name]) {
				t.Errorf("%s is open, although its command has failed", s.name)
			}
		}
	}
	n.run(nil, n.path("sallyportd"), "lease", "close", "-c", n.path("gate/sallyportd.toml"), "--all")
	n.closes(names...)
	for name, at := range address {
		if n.reaches(n.client, at) {
			t.Errorf("%s is open after its lease", name)
		}
	}
	// The closing commands: once, or again until they succeed.
	n.await("the closing commands", func() bool {
		for _, s := range services {
			list := n.records(s.name)
			ended := slices.ContainsFunc(list, func(r recorded) bool { return r.value("EVENT") == "close" })
			if !ended && s.close != "-" {
				return false
			}
		}
		return n.logged("closing command failed; retrying\" service=unclosed ") > 0 && n.logged("closing command failed; retrying\" service=stuck ") > 0 &&
			len(n.records("unclosed")) > 1 && len(n.records("stuck")) > 1
	})
	id := n.identifier("alice")
	for _, s := range services {
		for _, r := range n.records(s.name) {
			event := r.value("EVENT")
			reason := map[string]string{"open": "knock", "close": "administrator"}[event]
			if event == "close" && !s.opens {
				reason = "open-failed"
			}
			if r.value("SERVICE") != s.name || r.value("CLIENT") != id || r.value("ADDRESS") != "198.51.100.2" || r.value("PREFIX") != "198.51.100.2/32" ||
				r.value("OPERATION") != "" || r.value("REASON") != reason || fmt.Sprint(r.UID) != commandUser || r.Dir != n.path("made") {
				t.Errorf("%s: the command got %+v", s.name, r)
			}
		}
	}
	plain := n.records("plain")
	if len(plain) != 2 || plain[0].value("EVENT") != "open" || plain[1].value("EVENT") != "close" {
		t.Errorf("two commands were expected, got %+v", plain)
	}
	out, err := n.try(nil, n.path("sallyportd"), "check", "-c", n.path("gate/sallyportd.toml"))
	if err != nil || !strings.Contains(out, "unclosed") || !strings.Contains(out, "exit code 7") {
		t.Errorf("check reports %v\n%s", err, out)
	}
	if size := len(n.log()); size > 1<<20 {
		t.Errorf("the log has %d bytes", size)
	}
	// The next start of the server runs the commands that are left.
	before := len(n.records("unclosed"))
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if len(n.processes()) > 0 {
		n.await("the end of all commands", func() bool { return len(n.processes()) == 0 })
	}
	n.serve()
	n.await("the closing command of the earlier server", func() bool { return len(n.records("unclosed")) > before })
}
