package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// edit replaces a text in the configuration.
func (n *network) edit(old, text string) {
	n.t.Helper()
	path := n.path("gate/sallyportd.toml")
	before, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(before), old) {
		err = fmt.Errorf("no %q in %s", old, before)
	}
	if err == nil {
		err = os.WriteFile(path, []byte(strings.Replace(string(before), old, text, 1)), 0o600)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

const (
	withoutStealth = "port_secret_file"
	withStealth    = "stealth = true\nport_secret_file"
	another        = "[[service]]\nname = \"more\"\ntype = \"firewall\"\nlisten = \":5401\"\n"
)

// command runs a command of the server, which must print a text, and succeed or not.
func (n *network) command(ok bool, want string, args ...string) {
	n.t.Helper()
	out, err := n.try(nil, n.path("sallyportd"), append(args, "-c", n.path("gate/sallyportd.toml"))...)
	if (err == nil) != ok || !strings.Contains(out, want) {
		n.t.Errorf("%s: %v, %s, want %q\nserver: %s", strings.Join(args, " "), err, out, want, n.log())
	}
}

// reloads runs "reload", as command does.
func (n *network) reloads(ok bool, want string, args ...string) {
	n.t.Helper()
	n.command(ok, want, append([]string{"reload"}, args...)...)
}

// udpReaches checks whether a stranger reaches what stealth hides.
func (n *network) udpReaches(when string, want bool) {
	n.t.Helper()
	if got := n.echoes(n.stranger, asStranger+":5400"); got != want {
		n.t.Errorf("%s: a stranger reaches another program over UDP: %t\nserver: %s", when, got, n.log())
	}
}

// getIn knocks, connects, and returns the connection.
func (n *network) getIn(address string) (in net.Conn) {
	n.t.Helper()
	n.within("all", func() { in = n.stream(n.client, address) }, func() bool { return in != nil && streams(in) })
	return in
}

// TestReloadOnTrial: a reload puts stealth on trial, whichever process has the table. An earlier
// connection proves nothing. A confirmed trial is the last one.
func TestReloadOnTrial(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	for _, alone := range []bool{false, true} {
		os.RemoveAll(n.path("gate"))
		os.Remove(n.path("all.toml"))
		n.configure(fmt.Sprintf(pour, "30s"), "all")
		var holder *os.Process
		if alone {
			holder = n.hold().Process
		}
		n.serve()
		n.reloads(true, "nothing is newly hidden, so nothing is on trial", "--trial", "1h")
		earlier := n.getIn(asClient + ":5400")
		n.confirm(false, "nothing is on trial")
		n.udpReaches("before", true)
		n.edit(withoutStealth, withStealth)
		n.reloads(true, "on trial; get in by a knock, and run \"sallyportd confirm\": stealth until ", "--trial", "1h")
		n.udpReaches("on trial", false)
		n.strangersReach("hidden for good", false)
		n.command(true, "stealth, open to anyone from ", "status")
		if !streams(earlier) {
			t.Error("the earlier connection has ended")
		}
		n.confirm(false, "no connection that got in by a knock")

		// It can end without a confirmation, and then be on trial again.
		n.edit(withStealth, withoutStealth)
		n.reloads(true, "reloaded: ")
		n.udpReaches("shown again", true)
		n.edit(withoutStealth, withStealth)
		n.reloads(true, "reloaded: ") // the record knows the trial
		n.udpReaches("the same trial", false)
		n.confirm(false, "no connection that got in by a knock")
		in := n.getIn(asClient + ":5400")
		n.confirm(true, "confirmed: stealth")
		if !streams(in) {
			t.Error("the connection that got in has ended")
		}
		n.edit(withStealth, withoutStealth)
		n.reloads(true, "reloaded: ")
		n.udpReaches("shown after the trial", true)
		n.edit(withoutStealth, withStealth)
		n.reloads(true, "nothing is newly hidden", "--trial", "1h")
		n.confirm(false, "nothing is on trial")
		n.udpReaches("a second trial", false)

		// Ports that stealth hides already are not on trial, and nothing changes.
		n.edit(withStealth, "stealth_except = [5400]\n"+withStealth)
		n.reloads(true, "reloaded: ")
		n.udpReaches("an exception", true)
		n.edit("stealth_except = [5400]\n", "")
		n.reloads(false, "ports that stealth_except no longer has cannot be on trial", "--trial", "1h")
		n.udpReaches("a rejected reload", true)
		n.reloads(true, "reloaded: ")
		n.udpReaches("hidden at last", false)

		// A new service requires a restart.
		n.edit("[[service]]", another+"[[service]]")
		todo := "start it with --trial 5m0s"
		if alone {
			todo = "sallyportd firewall reload --trial 5m0s"
		}
		n.reloads(false, todo, "--trial", "5m")
		n.stop()
		if holder != nil {
			holder.Signal(syscall.SIGTERM)
			holder.Wait()
		}
		n.try(nil, n.path("sallyportd"), "firewall", "clear", "--take-over", "-c", n.path("gate/sallyportd.toml"))
	}
}

// TestReloadTrialOver: what a reload has put on trial opens again by the kernel, after all
// processes were killed, and stays open at later starts, until a reload begins another trial, or ends it.
func TestReloadTrialOver(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "30s"), "all")
	n.serve()
	n.edit(withoutStealth, withStealth)
	n.reloads(true, "stealth until ", "--trial", "10s")
	holder := n.helperOf(n.server.Process.Pid)
	n.server.Process.Kill()
	n.server.Wait()
	n.server = nil
	if err := syscall.Kill(holder, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		t.Fatal(err)
	}
	n.await("the end of the holder", func() bool { return syscall.Kill(holder, 0) != nil })
	n.await("what stealth hides to open by itself", func() bool { return n.echoes(n.stranger, asStranger+":5400") })
	n.strangersReach("hidden for good", false)
	n.serve()
	n.udpReaches("a later start", true)
	n.confirm(false, "the trial is over")
	n.reloads(true, "stealth until ", "--trial", "1h")
	n.udpReaches("another trial, by a command", false)
	n.confirm(false, "no connection that got in by a knock")
	n.reloads(true, "nothing is on trial; hidden services are closed for good", "--trial", "0")
	n.udpReaches("without a trial", false)
	n.confirm(false, "nothing is on trial")
	if n.counted("trial ended by command; services closed for good\" services=stealth") != 1 {
		t.Errorf("not in the log: %s", n.log())
	}
}

// TestReloadTrialOnFullDisk: a trial that cannot be recorded does not begin, and nothing
// is hidden.
func TestReloadTrialOnFullDisk(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "30s"), "all")
	state := n.path("gate/state")
	err := os.MkdirAll(state, 0o700)
	if err == nil {
		err = unix.Mount("tmpfs", state, "tmpfs", 0, "size=1m,mode=700")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(state, unix.MNT_DETACH) })
	n.serve()
	fill, err := os.Create(state + "/fill")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(fill, endless{}) // until the disk is full
	fill.Close()
	n.edit(withoutStealth, withStealth)
	n.reloads(false, "no space left on device", "--trial", "1h")
	n.udpReaches("a full disk", true)
	n.confirm(false, "nothing is on trial")
	if err := os.Remove(state + "/fill"); err != nil {
		t.Fatal(err)
	}
	n.reloads(true, "stealth until ", "--trial", "1h")
	n.udpReaches("on trial", false)
}

// TestFirewallReloadOnTrial: a command puts a new service on trial with "firewall hold",
// which was started without a trial. If that fails, servers have the firewall as before.
func TestFirewallReloadOnTrial(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.echo("[::]:5401")
	n.configure(fmt.Sprintf(pour, "30s"), "all")
	n.command(false, "no \"firewall hold\" answers at ", "firewall", "reload", "--trial", "1h")
	n.hold()
	n.serve()
	more := asClient + ":5401"
	n.edit("[[service]]", another+"[[service]]")
	record := n.path("gate/state/trial.json")
	if err := os.Mkdir(record, 0o700); err != nil {
		t.Fatal(err)
	}
	n.command(false, "write the record of trials", "firewall", "reload", "--trial", "0")
	if !n.reaches(n.stranger, asStranger+":5401") {
		t.Error("a trial that cannot be recorded has hidden the service")
	}
	n.edit(another, "")
	n.await("the server to have the holder again", func() bool { return n.logged("firewall holder connected") == 1 })
	n.getIn(asClient + ":5400") // with the bug, the holder changes a table that it has given up
	n.strangersReach("after the failure", false)
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	n.edit("[[service]]", another+"[[service]]")
	n.command(true, "on trial: more (until ", "firewall", "reload", "--trial", "1h")
	n.strangersReach("hidden for good", false)
	if n.reaches(n.stranger, asStranger+":5401") {
		t.Error("on trial: open to a stranger")
	}
	n.stop()
	n.serve()
	n.confirm(false, "no connection that got in by a knock")
	in := n.getIn(more)
	n.confirm(true, "confirmed: more")
	if !streams(in) {
		t.Error("the connection that got in has ended")
	}
	n.command(true, "nothing is newly hidden", "firewall", "reload", "--trial", "1h")
	if n.reaches(n.stranger, asStranger+":5401") {
		t.Error("confirmed: open to a stranger")
	}
}

// TestTrialBesideProxy: a service with via = "proxy" cannot be newly hidden on trial. Once its
// port is confirmed without via, it does not prevent the trial of another service.
func TestTrialBesideProxy(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.echo("[::]:5401")
	const via = "via = \"proxy\"\nvia_port = 1400\nbind = \"connection\"\n"
	n.configure(fmt.Sprintf(pour, "30s")+via, "all")
	hold := []string{"firewall", "hold", "--trial", "1h"}
	n.command(false, "service pour cannot be on trial", hold...)
	if !n.reaches(n.stranger, asStranger+":5400") {
		t.Error("a trial that is rejected has hidden the service")
	}
	n.edit(via, "")
	n.trying("1h")
	n.getIn(asClient + ":5400")
	n.confirm(true, "confirmed: pour")
	n.stop()
	n.edit("open_for", via+"open_for")
	n.edit("[[service]]", another+"[[service]]")
	n.trying("1h")
	if n.counted("services on trial; they open to anyone unless confirmed\" services=more ") != 1 {
		t.Errorf("the other service is not on trial: %s", n.log())
	}
	n.strangersReach("confirmed, with a proxy", false)
}
