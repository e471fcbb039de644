package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestProcessNginx: a real nginx, with workers, runs only while a client has a lease.
// Strangers never reach it, neither at the gate nor at its own port.
func TestProcessNginx(t *testing.T) {
	const nginx = "/usr/sbin/nginx"
	if _, err := exec.LookPath(nginx); err != nil {
		t.Skip("needs nginx")
	}
	if _, ok := enterPrograms(t); !ok {
		return
	}
	n := newProgramNetwork(t, func(n *network) string {
		return fmt.Sprintf(`[[service]]
name = "site"
type = "process"
listen = ":8080"
program = [%q, "-c", %q, "-g", "daemon off;"]
program_user = %q
upstream = "127.0.0.1:8081"
open_for = "10s"
open_max = "10s"
`, nginx, n.path("nginx.conf"), programUser)
	}, "alice")
	conf := n.path("nginx.conf")
	n.write("nginx.conf", strings.NewReplacer("MADE", n.path("made"), "SITE", n.path("site")).Replace(`worker_processes 2;
pid MADE/nginx.pid;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path MADE/body;
    proxy_temp_path MADE/proxy;
    fastcgi_temp_path MADE/fastcgi;
    uwsgi_temp_path MADE/uwsgi;
    scgi_temp_path MADE/scgi;
    server { listen 127.0.0.1:8081; root SITE; }
}
`))
	n.run(nil, "install", "-d", "-m", "755", n.path("site"))
	n.write("site/index.html", "nginx has started for this lease")
	n.serve()
	closed := func(when string) {
		t.Helper()
		for _, address := range []string{asClient + ":8080", asClient + ":8081"} {
			if n.reaches(n.client, address) {
				t.Errorf("%s, %s is open", when, address)
			}
		}
		if left := n.running(conf); len(left) > 0 {
			t.Errorf("%s, nginx runs: %v", when, left)
		}
	}
	closed("before a lease")
	for range 2 {
		n.within("alice", func() {
			if n.reaches(n.stranger, asStranger+":8080") || n.reaches(n.client, asClient+":8081") || n.reaches(n.stranger, asStranger+":8081") {
				t.Error("a stranger reaches nginx, or its own port is public")
			}
		}, func() bool {
			return strings.Contains(n.page(n.client, asClient+":8080", "/"), "nginx has started for this lease")
		})
		for _, p := range n.running(conf) {
			if p.user != programUser {
				t.Errorf("nginx runs as user %s", p.user)
			}
		}
		n.closes("site")
		n.await("the end of nginx", func() bool { return len(n.running(conf)) == 0 })
		closed("after the lease")
	}
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// write writes a file that all users can read.
func (n *network) write(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(n.path(name), []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// TestProcessesMisbehave: programs that misbehave in each way, all opened by one knock.
// Those that serve are reached by the client alone; each of them, and all that they
// have started, ends with the lease.
func TestProcessesMisbehave(t *testing.T) {
	misbehave, ok := enterPrograms(t)
	if !ok {
		return
	}
	services := []struct {
		name     string
		upstream string // empty: a port of the loopback
		args     string
		serves   bool
	}{
		{name: "deaf", args: "-ignore-term", serves: true},
		{name: "away", args: "-fork-away -ignore-term"}, // it is stopped when its first process has ended
		{name: "parent", args: "-children 3 -ignore-term", serves: true},
		{name: "unix", upstream: "unix", args: "-children 1", serves: true},
		{name: "heir", upstream: "inherit", serves: true},
		{name: "flood", args: "-flood 100000000 -ignore-term", serves: true},
		{name: "dies", args: "-die-after 200ms -exit 3"},
		{name: "never", args: "-hang -children 2 -ignore-term"},
		{name: "absent"},
	}
	address := map[string]string{}
	for i, s := range services {
		address[s.name] = fmt.Sprintf("%s:%d", asClient, 8001+i)
	}
	n := newProgramNetwork(t, func(n *network) string {
		var text strings.Builder
		for i, s := range services {
			upstream := fmt.Sprintf("127.0.0.1:%d", 9001+i)
			switch s.upstream {
			case "unix":
				upstream = "unix:" + n.path("sockets/program")
			case "inherit":
				upstream = "inherit"
			}
			args := append([]string{misbehave}, strings.Fields(s.args)...)
			within := "1m" // a busy machine is slow
			switch s.name {
			case "never":
				within = "1s"
			case "absent":
				args[0] += "-absent"
			default:
				args = append(args, "-listen", upstream)
			}
			fmt.Fprintf(&text, `[[service]]
name = %q
type = "process"
listen = ":%d"
program = ["%s"]
program_user = %q
upstream = %q
start_within = %q
stop_after = "300ms"
open_for = "1h"
open_max = "1h"
`, s.name, 8001+i, strings.Join(args, `", "`), programUser, upstream, within)
		}
		return text.String()
	}, "alice")
	n.run(nil, "install", "-d", "-m", "755", "-o", programUser, n.path("sockets"))
	n.serve()
	began := time.Now()
	n.knock("alice")
	for _, s := range services {
		if s.serves {
			n.await("a page of "+s.name, func() bool { return strings.Contains(n.page(n.client, address[s.name], "/"), "the program serves") })
		}
		if n.reaches(n.stranger, strings.Replace(address[s.name], asClient, asStranger, 1)) {
			t.Errorf("a stranger reaches %s", s.name)
		}
	}
	// The page shows who serves, with which descriptors.
	answer := func(name, path string) (text string) {
		n.await("an answer of "+name, func() bool { text = n.page(n.client, address[name], path); return text != "" })
		return text
	}
	if self := answer("heir", "/self"); !strings.Contains(self, "uid "+programUser+" gid 60 dir /") {
		t.Errorf("the program is %q", self)
	}
	if fds := answer("deaf", "/fds"); !onlyOwn(fds) {
		t.Errorf("the program has the descriptors\n%s", fds)
	}
	n.await("reports of programs that fail", func() bool {
		log := n.log()
		for _, line := range []string{
			"service=dies error=\"exit code 3\"", "service=away error=\"exit code 0\"", "service=never error=\"it did not accept connections in time: ", "service=absent error=",
		} {
			if !strings.Contains(log, "msg=\"program failed; service closed; starting it again\" "+line) {
				return false
			}
		}
		return true
	})
	for _, name := range []string{"never", "absent"} {
		if n.reaches(n.client, address[name]) {
			t.Errorf("%s is open, although no program accepts connections", name)
		}
	}
	n.run(nil, n.path("sallyportd"), "lease", "close", "-c", n.path("gate/sallyportd.toml"), "--all")
	var names []string
	for _, s := range services {
		names = append(names, s.name)
	}
	n.closes(names...)
	n.await("the end of all programs", func() bool {
		for _, p := range n.processes() {
			if len(p.args) > 0 && strings.HasSuffix(p.args[0], "misbehave") || p.zombie {
				return false
			}
		}
		return true
	})
	for name, at := range address {
		if n.reaches(n.client, at) {
			t.Errorf("%s is open after its lease", name)
		}
	}
	// The log has ten lines a second of each stream, with a kilobyte each, and some more.
	most := 1<<20 + int(time.Since(began).Seconds())*24<<10
	if size := len(n.log()); size > most || !strings.Contains(n.log(), "left_out=") {
		t.Errorf("the log has %d bytes, after a program wrote 200 MB", size)
	}
	if log := n.log(); strings.ContainsAny(log, "\x1b\x00\r") || !utf8.ValidString(log) {
		t.Error("control characters of a program reached the log")
	}
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// onlyOwn reports whether a list of descriptors has only those that a program opens
// itself, and its streams.
func onlyOwn(list string) bool {
	_, list, _ = strings.Cut(list, "\r\n\r\n")
	found := 0
	for line := range strings.Lines(list) {
		number, target, _ := strings.Cut(strings.TrimSpace(line), " ")
		found++
		switch {
		case number == "0" && target == "/dev/null", number == "1" || number == "2":
		case strings.HasPrefix(target, "/sys/fs/cgroup/"): // Go's runtime reads them
		case strings.HasPrefix(target, "anon_inode:["), strings.HasPrefix(target, "socket:"), strings.HasSuffix(target, "/fd"):
		default:
			return false
		}
	}
	return found > 3
}

// TestProcessRestarts: a program that dies during a lease is started again, for the
// client alone; and its connections end with it.
func TestProcessRestarts(t *testing.T) {
	misbehave, ok := enterPrograms(t)
	if !ok {
		return
	}
	n := newProgramNetwork(t, func(*network) string {
		return fmt.Sprintf(`[[service]]
name = "site"
type = "process"
listen = ":8080"
program = [%q, "-listen", "127.0.0.1:8081", "-children", "2"]
program_user = %q
upstream = "127.0.0.1:8081"
open_for = "1h"
`, misbehave, programUser)
	}, "alice")
	n.serve()
	n.knock("alice")
	const at = asClient + ":8080"
	serves := func() bool { return n.page(n.client, at, "/") != "" }
	n.await("the page", serves)
	for _, p := range n.running(misbehave) {
		if err := kill(p.pid); err != nil {
			t.Fatal(err)
		}
	}
	n.await("the report", func() bool { return n.logged("program failed; service closed; starting it again") > 0 })
	n.await("the page of the next run", serves)
	if n.reaches(n.stranger, asStranger+":8080") {
		t.Error("a stranger reaches the restarted program")
	}
	n.run(nil, n.path("sallyportd"), "lease", "close", "-c", n.path("gate/sallyportd.toml"), "--all")
	n.await("the end of the program", func() bool { return len(n.running(misbehave)) == 0 })
}
