package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/client"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// The users of this test, which no list of users has.
const (
	gateUser    = 54331
	programUser = 54332
	commandUser = 54333
)

// serveSite is the program of a service of type "process". Its argument is the path of
// a socket, or "inherit".
func serveSite() {
	var l net.Listener
	var err error
	if at := os.Args[1]; at != "inherit" {
		os.Remove(at) // which a crash has left
		l, err = net.Listen("unix", at)
		err = errors.Join(err, os.Chmod(at, 0o666))
	} else if os.Getenv("LISTEN_FDS") != "1" || os.Getenv("LISTEN_PID") != fmt.Sprint(os.Getpid()) {
		err = fmt.Errorf("LISTEN_FDS is %q, LISTEN_PID %q", os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID"))
	} else {
		l, err = net.FileListener(os.NewFile(3, "listener"))
	}
	if err == nil {
		err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			dir, _ := os.Getwd()
			fmt.Fprintf(w, "%s: user %d in %s", os.Args[1], os.Getuid(), dir)
		}))
	}
	fmt.Println(err)
	os.Exit(1)
}

// programWorld is a server with a service of each kind of program, and a client.
type programWorld struct {
	t      *testing.T
	dir    string
	client *guest
	server *victim
}

func newProgramWorld(t *testing.T) *programWorld {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "programs") // which the users may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &programWorld{t: t, dir: dir, client: &guest{client.Profile{
		Server: "127.0.0.1", PortSecret: "the port secret", Ports: 2,
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("secret-1"),
	}, client.NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, nil}}
	self, err := os.Readlink("/proc/self/exe")
	if err == nil {
		err = os.Link(self, w.path("site"))
	}
	if err != nil { // another file system
		var text []byte
		if text, err = os.ReadFile("/proc/self/exe"); err == nil {
			err = os.WriteFile(w.path("site"), text, 0o755)
		}
	}
	for _, d := range []struct {
		name string
		user int
		mode fs.FileMode
	}{{"", 0, 0o755}, {"gate", gateUser, 0o700}, {"gate/state", gateUser, 0o700}, {"run", programUser, 0o711}, {"out", commandUser, 0o755}} {
		if d.name != "" {
			err = errors.Join(err, os.Mkdir(w.path(d.name), d.mode))
		}
		err = errors.Join(err, os.Chmod(w.path(d.name), d.mode), os.Chown(w.path(d.name), d.user, d.user))
	}
	script := w.path("out/command")
	err = errors.Join(err, os.WriteFile(script, []byte("#!/bin/sh\necho \"$SALLYPORT_EVENT $SALLYPORT_SERVICE $SALLYPORT_CLIENT $SALLYPORT_ADDRESS $SALLYPORT_PREFIX $SALLYPORT_REASON\" >>"+w.path("out/ran")+"\n"), 0o755))
	text := strings.NewReplacer("DIR", dir, "PROGRAM", fmt.Sprint(programUser), "COMMAND", fmt.Sprint(commandUser), "SERVER", fmt.Sprint(gateUser)).Replace(`
ports = 2
listen = ["127.0.0.1"]
port_secret_file = "port_secret"
clients = "clients.txt"
user = "SERVER"
[[service]]
name = "site"
type = "process"
listen = "127.0.0.1:8443"
program = ["DIR/site", "DIR/run/socket"]
program_user = "PROGRAM"
program_dir = "DIR/run"
upstream = "unix:DIR/run/socket"
open_for = "1h"
open_max = "1h"
on_open = ["DIR/out/command"]
on_close = ["DIR/out/command"]
command_user = "COMMAND"
[[service]]
name = "heir"
type = "process"
listen = "127.0.0.1:8444"
program = ["DIR/site", "inherit"]
program_user = "PROGRAM"
upstream = "inherit"
open_for = "1h"
open_max = "1h"
[[service]]
name = "hook"
type = "command"
on_open = ["DIR/out/command"]
on_close = ["DIR/out/command"]
command_user = "COMMAND"
open_for = "3s"
open_max = "3s"
`)
	err = errors.Join(err, state.Create(w.path("gate/state")))
	for name, text := range map[string]string{config.FileName: text, config.ClientsName: "com1 secret-1 0\n", config.PortSecretName: "the port secret\n"} {
		path := w.path("gate/" + name)
		err = errors.Join(err, os.WriteFile(path, []byte(text), 0o600))
	}
	err = errors.Join(err, filepath.WalkDir(w.path("gate"), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, gateUser, gateUser))
	}))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *programWorld) path(name string) string { return filepath.Join(w.dir, name) }

func (w *programWorld) start() {
	w.t.Helper()
	w.server = startVictim(w.t, w.path("gate"))
	server := w.server.cmd.Process
	w.t.Cleanup(func() { server.Kill() })
}

func (w *programWorld) until(what string, ok func() bool) {
	w.t.Helper()
	netns.Until(w.t, what, ok, w.server.log, func() (list string) {
		for _, user := range []int{programUser, commandUser} {
			for _, pid := range processesOf(user, "") {
				text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
				list += fmt.Sprintf("process %d of user %d: %q\n%.120s\n", pid, user, text, status)
			}
		}
		return list
	})
}

// page returns what a service serves; empty: nothing.
func (w *programWorld) page(port string) string {
	c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get("http://127.0.0.1:" + port)
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return string(text)
}

// knockUntil knocks again and again: a datagram may be lost, and knocks of the start's
// second are rejected.
func (w *programWorld) knockUntil(what string, pause time.Duration, ok func() bool) {
	w.t.Helper()
	knocked := time.Time{}
	w.until(what, func() bool {
		if time.Since(knocked) > pause {
			w.client.attempt(w.t).send(w.t, "127.0.0.1")
			knocked = time.Now()
		}
		return ok()
	})
}

// knockFor knocks until a service serves a page.
func (w *programWorld) knockFor(port, want string) {
	w.t.Helper()
	w.knockUntil("the page of port "+port, 2*time.Second, func() bool { return w.page(port) == want })
}

// close ends all leases.
func (w *programWorld) close() {
	w.t.Helper()
	if _, err := w.admin().CloseLeases(w.t.Context(), admin.Closing{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *programWorld) admin() admin.Conn { return admin.Conn{Socket: w.path("gate/sallyportd.sock")} }

// ran returns how often a command has run, by the line that it writes.
func (w *programWorld) ran(line string) (n int) {
	text, _ := os.ReadFile(w.path("out/ran"))
	return strings.Count("\n"+string(text), "\n"+line+"\n")
}

// processes returns the processes of a user whose command contains a text.
func processesOf(user int, containing string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		var s syscall.Stat_t
		command, err := os.ReadFile(dir + "/cmdline")
		var pid int
		// A process that has ended, and that a container's first process has not reaped,
		// has no command.
		if err == nil && len(command) > 0 && syscall.Stat(dir, &s) == nil && int(s.Uid) == user && strings.Contains(string(command), containing) {
			fmt.Sscan(filepath.Base(dir), &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestServerWithPrograms runs a real server, as root starts it, with programs and
// commands of other users.
func TestServerWithPrograms(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newProgramWorld(t)
	site, heir := fmt.Sprintf("%s: user %d in %s", w.path("run/socket"), programUser, w.path("run")), fmt.Sprintf("inherit: user %d in /", programUser)
	const opened, closed, crashed = "open site com1 127.0.0.1 127.0.0.1/32 knock", "close site com1 127.0.0.1 127.0.0.1/32 administrator", "close site com1 127.0.0.1 127.0.0.1/32 crash"
	const hooked, expired = "open hook com1 127.0.0.1 127.0.0.1/32 knock", "close hook com1 127.0.0.1 127.0.0.1/32 expired"
	programs := func() []int { return processesOf(programUser, w.path("site")) }

	w.start()
	if n := programs(); len(n) > 0 || w.page("8443") != "" {
		t.Errorf("the program runs without a lease: %v", n)
	}
	w.knockFor("8443", site)
	w.knockFor("8444", heir)
	if w.ran(opened) == 0 {
		t.Error("the opening command has not run")
	}
	w.until("the commands of a service without a port", func() bool { return w.ran(hooked) > 0 && w.ran(expired) > 0 })
	w.until("the end of the programs, and their closing commands", func() bool {
		w.close() // again: a knock may be on its way
		return len(programs()) == 0 && w.ran(closed) == w.ran(opened) && w.page("8443")+w.page("8444") == ""
	})

	// Nothing outlives a server that is killed, not even if a program has stopped all
	// processes of its user; and the next one runs its command.
	w.knockFor("8443", site)
	before := w.ran(closed)
	for _, pid := range processesOf(programUser, "") {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
	if err := w.server.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	w.until("the end of all processes", func() bool {
		return len(processesOf(programUser, "")) == 0 && len(processesOf(commandUser, "")) == 0
	})
	w.server.cmd.Wait()
	if w.page("8443") != "" || w.ran(crashed) != 0 || w.ran(closed) != before {
		t.Error("after the crash, the service is open, or its command has run")
	}
	w.start()
	w.until("the closing command of the crash", func() bool { return w.ran(crashed) == 1 })

	// A runner that dies ends its programs; other services go on.
	w.knockFor("8443", site)
	for _, pid := range processesOf(programUser, runnerName) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	w.until("the end of the programs", func() bool { return len(processesOf(programUser, "")) == 0 })
	w.until("the loss in the log", func() bool {
		return strings.Contains(w.server.log(), "msg=\"runner lost; its services stay closed\" user=54332")
	})
	w.until("the closed services", func() bool {
		waiting, err := w.admin().Waiting(t.Context())
		return err == nil && strings.Contains(waiting["site"], "has ended") && strings.Contains(waiting["heir"], "has ended") && waiting["hook"] == ""
	})
	// Knocks extend the lease in force, and run no command.
	ran := w.ran(hooked)
	w.knockUntil("the command of another runner", 4*time.Second, func() bool { return w.ran(hooked) > ran })
	if w.page("8443") != "" || len(programs()) > 0 {
		t.Error("the program runs again")
	}

	// A server that stops in order closes first, and leaves nothing.
	w.server.stop(t, 0)
	if all := append(processesOf(programUser, ""), processesOf(commandUser, "")...); len(all) > 0 {
		t.Errorf("processes are left: %v", all)
	}
	entries, _ := os.ReadFile(w.path("gate/state/closing-commands"))
	if strings.Contains(string(entries), "site") {
		t.Errorf("closing commands are left: %s", entries)
	}

	// A server that is stopped while it starts its runners ends, too.
	early := exec.Command("/proc/self/exe", "serve", "-c", w.path("gate/"+config.FileName))
	early.Args[0] = "sallyportd"
	if err := early.Start(); err != nil {
		t.Fatal(err)
	}
	w.until("the first runner", func() bool { return len(processesOf(programUser, runnerName)) > 0 })
	early.Process.Signal(syscall.SIGTERM)
	if end := netns.Deadline(t); !end.IsZero() {
		defer time.AfterFunc(time.Until(end), func() { early.Process.Kill() }).Stop()
	}
	early.Wait()
	if s := early.ProcessState.Sys().(syscall.WaitStatus); s.Signaled() && s.Signal() == syscall.SIGKILL {
		t.Error("a server that starts ignores SIGTERM")
	}
	w.until("the end of all processes", func() bool {
		return len(processesOf(programUser, "")) == 0 && len(processesOf(commandUser, "")) == 0
	})
}
