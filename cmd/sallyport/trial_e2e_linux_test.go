package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// trying starts the server with --trial.
func (n *network) trying(d string) {
	n.t.Helper()
	n.serve("sh", "-c", `exec "$@" --trial `+d, "sh")
}

// confirm runs "confirm", which must print a text, and succeed or not.
func (n *network) confirm(ok bool, want string) {
	n.t.Helper()
	out, err := n.try(nil, n.path("sallyportd"), "confirm", "-c", n.path("gate/sallyportd.toml"))
	if (err == nil) != ok || !strings.Contains(out, want) {
		n.t.Errorf("confirm: %v, %s, want %q\nserver: %s", err, out, want, n.log())
	}
}

// strangersReach checks whether a stranger reaches the service, over both families.
func (n *network) strangersReach(when string, want bool) {
	n.t.Helper()
	for _, to := range []string{asStranger + ":5400", "[2001:db8:1::1]:5400"} {
		if got := n.reaches(n.stranger, to); got != want {
			n.t.Errorf("%s: a stranger reaches %s: %t\nserver: %s", when, to, got, n.log())
		}
	}
}

// TestTrialConfirmed: on trial, a service is closed to strangers, and connections from
// before continue, until "confirm". The server refuses that until a connection has begun
// by a knock: neither a knock suffices, nor an earlier connection from the same address.
// Afterwards a further --trial opens nothing, also if the service has another name.
func TestTrialConfirmed(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "30s"), "all")
	record := n.path("gate/state/trial.json")
	earlier := n.stream(n.client, asClient+":5400")
	n.trying("1h")
	if !streams(earlier) {
		t.Error("the earlier connection has ended")
	}
	n.strangersReach("on trial", false)
	out := n.run(nil, n.path("sallyportd"), "status", "-c", n.path("gate/sallyportd.toml"))
	if !strings.Contains(out, "pour, open to anyone from ") {
		t.Errorf("status: %s", out)
	}
	n.confirm(false, "no connection that got in by a knock")
	n.within("all", func() {
		if !streams(earlier) {
			t.Error("the earlier connection has ended after a knock")
		}
		n.confirm(false, "no connection that got in by a knock")
	}, func() bool { return true })
	text, err := os.ReadFile(record)
	if err != nil || !strings.Contains(string(text), `"trial"`) {
		t.Errorf("the record is %s, %v", text, err)
	}
	var in = earlier
	n.within("all", func() { in = n.stream(n.client, asClient+":5400") }, func() bool { return in != nil && streams(in) })
	n.confirm(true, "confirmed: pour")
	n.strangersReach("confirmed", false)
	text, err = os.ReadFile(record)
	if err != nil || strings.Contains(string(text), `"trial"`) || !strings.Contains(string(text), `"confirmed"`) {
		t.Errorf("the record is %s, %v", text, err)
	}
	n.confirm(false, "nothing is on trial")
	if !streams(in) {
		t.Error("the connection that got in by a knock has ended")
	}
	n.stop()
	n.strangersReach("after the server", false)
	n.run(nil, n.path("sallyportd"), "firewall", "clear", "-c", n.path("gate/sallyportd.toml"))
	n.strangersReach("cleared", true)
	n.edit(`name = "pour"`, `name = "renamed"`) // the port is the same
	n.trying("1h")
	if n.counted("not on trial; services were hidden before") != 1 {
		t.Errorf("a second trial of a confirmed service: %s", n.log())
	}
	n.confirm(false, "nothing is on trial")
	n.strangersReach("a second trial", false)
}

// TestTrialByHangup: a holder with --trial puts the services on trial that another
// configuration adds, and none that its table hides already.
func TestTrialByHangup(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "30s"), "all")
	path := n.path("gate/sallyportd.toml")
	n.run(nil, n.path("sallyportd"), "firewall", "load", "-c", path)
	holder := n.hold("--trial", "1h")
	if n.counted("not on trial; services were hidden before") != 1 || n.counted("services on trial;") != 0 {
		t.Errorf("the hidden service is on trial: %s", n.log())
	}
	text, err := os.ReadFile(path)
	if err == nil {
		text = append(text, "[[service]]\nname = \"more\"\ntype = \"firewall\"\nlisten = \":5401\"\n"...)
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	holder.Process.Signal(syscall.SIGHUP)
	n.await("the new service on trial", func() bool { return n.logged("services=more until=") == 1 })
	n.strangersReach("hidden before", false)
	n.serve()
	n.confirm(false, "no connection that got in by a knock")
}

// TestTrialTakeOver: a service that the table of another configuration hides is not on
// trial, also later, when the table is gone. A trial that is stopped in order keeps its time.
func TestTrialTakeOver(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "30s"), "all")
	path, other := n.path("gate/sallyportd.toml"), n.path("gate/other.toml")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(other, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	end := func(holder *exec.Cmd) {
		holder.Process.Signal(syscall.SIGTERM)
		holder.Wait()
	}
	end(n.hold("--trial", "1h"))
	end(n.hold())
	if n.counted("services on trial; they open to anyone unless confirmed") != 2 || n.counted("trial not confirmed; services open to anyone\"") != 0 {
		t.Errorf("the trial was stopped, and does not continue: %s", n.log())
	}
	n.strangersReach("a trial that continues", false)
	n.run(nil, n.path("sallyportd"), "firewall", "clear", "-c", path)

	if err := os.Remove(n.path("gate/state/trial.json")); err != nil {
		t.Fatal(err)
	}
	n.run(nil, n.path("sallyportd"), "firewall", "load", "-c", other)
	n.strangersReach("hidden by another configuration", false)
	out, err := n.try(nil, n.path("sallyportd"), "firewall", "hold", "--trial", "1h", "-c", path)
	if err == nil || !strings.Contains(out, "--take-over") {
		t.Errorf("hold without --take-over: %v, %s", err, out)
	}
	if _, err := os.Stat(n.path("gate/state/trial.json")); !os.IsNotExist(err) {
		t.Errorf("a start that failed has begun a trial: %v", err)
	}
	for i, when := range []string{"taken over", "cleared"} {
		holder := n.hold("--take-over", "--trial", "1h")
		if n.counted("not on trial; services were hidden before") != i+1 {
			t.Errorf("%s: the hidden service is on trial: %s", when, n.log())
		}
		end(holder)
		n.run(nil, n.path("sallyportd"), "firewall", "clear", "-c", path)
	}
}

// TestTrialOver: when the time is over, the service is open, although neither the server
// nor its holder lives. It stays open at later starts, until another trial begins, or
// "--trial 0". One that runs continues after a crash. If the record is
// damaged, everything is closed.
func TestTrialOver(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "30s"), "all")
	file := []string{"-c", n.path("gate/sallyportd.toml")}
	crash := func() {
		t.Helper()
		holder := n.helperOf(n.server.Process.Pid)
		n.end(syscall.SIGKILL)
		if err := syscall.Kill(holder, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
		n.await("the end of the holder", func() bool { return syscall.Kill(holder, 0) != nil })
	}
	n.trying("1h")
	crash()
	n.strangersReach("after a crash", false)
	n.serve() // the trial continues
	if n.counted("services on trial; they open to anyone unless confirmed") != 2 {
		t.Errorf("the trial does not continue: %s", n.log())
	}
	n.strangersReach("after the next start", false)
	n.stop()

	n.trying("10s")
	crash()
	n.await("the service to open by itself", func() bool { return n.reaches(n.stranger, asStranger+":5400") })
	n.strangersReach("over", true)
	out := n.run(nil, n.path("sallyportd"), append([]string{"firewall", "load"}, file...)...)
	if !strings.Contains(out, "of a trial that was not confirmed: pour") {
		t.Errorf("load printed %s", out)
	}
	n.strangersReach("loaded", true)
	for _, start := range []func(){func() { n.serve() }, func() { n.trying("1h") }} { // the latter does not shut it again after a crash
		before := n.counted("trial not confirmed; services open to anyone\"")
		start()
		if n.counted("trial not confirmed; services open to anyone\"") != before+1 {
			t.Errorf("not in the log: %s", n.log())
		}
		n.strangersReach("later start", true)
		n.confirm(false, "the trial is over")
		crash()
	}
	// A holder that runs by itself, and a reboot: the record is of another start of the
	// kernel, and there is no table.
	n.run(nil, n.path("sallyportd"), append([]string{"firewall", "clear"}, file...)...)
	holder := n.hold()
	n.strangersReach("held", true)
	refused := func(when, want string) {
		t.Helper()
		out, err := n.try(nil, n.path("sallyportd"), append([]string{"serve", "--trial", "1h"}, file...)...)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("serve --trial with %s: %v, %s", when, err, out)
		}
	}
	refused("a holder", "a holder of the firewall runs already")
	holder.Process.Signal(syscall.SIGTERM) // in order: another trial may begin
	holder.Wait()
	n.trying("1h")
	n.strangersReach("another trial", false)
	n.stop()
	if n.counted("trial not confirmed; services open to anyone when it is over") < 1 {
		t.Errorf("the end of the server does not name the trial: %s", n.log())
	}
	record := n.path("gate/state/trial.json")
	if err := os.WriteFile(record, []byte(`{"version": 9}`), 0o600); err != nil {
		t.Fatal(err)
	}
	n.serve()
	if n.counted("failed to read the record of trials; nothing is on trial") != 1 {
		t.Errorf("a damaged record is not in the log: %s", n.log())
	}
	n.strangersReach("a damaged record", false)
	n.stop()
	refused("a damaged record", "expected version 1 to 2, got 9")
	n.trying("0")
	n.strangersReach("without a trial", false)
	if text, err := os.ReadFile(record); err != nil || !strings.Contains(string(text), `"confirmed"`) {
		t.Errorf("the record is %s, %v", text, err)
	}
}
