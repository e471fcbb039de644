package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// hold starts "sallyportd firewall hold", and waits until it holds.
func (n *network) hold() *exec.Cmd {
	n.t.Helper()
	log, err := os.OpenFile(n.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	before := n.said("holding the firewall")
	holder := exec.Command(n.path("sallyportd"), "firewall", "hold", "-c", n.path("gate/sallyportd.toml"))
	holder.Stderr = log
	if err := holder.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { holder.Process.Kill() })
	n.await("the holder", func() bool { return n.said("holding the firewall") > before })
	return holder
}

// said counts what the log says.
func (n *network) said(what string) int { return strings.Count(n.log(), what) }

const pour = "[[service]]\nname = \"pour\"\ntype = \"firewall\"\nlisten = \":5400\"\nopen_for = \"%s\"\n"

// TestHolderOutlivesServers: with a holder of its own, the firewall is closed
// whatever becomes of the server, and of the rules; and a server outlives holders.
func TestHolderOutlivesServers(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "30s"), "spare", "all")
	port := asClient + ":5400"
	closed := func(when string) {
		t.Helper()
		if n.reaches(n.client, port) || n.reaches(n.stranger, asStranger+":5400") {
			t.Errorf("%s: open", when)
		}
	}
	opens := func(when string) {
		t.Helper()
		open := false
		n.within("all", func() { open = n.reaches(n.client, port) }, func() bool { return open })
		if n.reaches(n.stranger, asStranger+":5400") {
			t.Errorf("%s: open to a stranger", when)
		}
	}
	flush := func(when string) {
		t.Helper()
		for _, rules := range [][]string{{"flush", "ruleset"}, {"flush", "table", "inet", "sallyport"}} {
			before := n.said("restored")
			n.run(nil, "nft", rules...)
			n.await(when+": the table after "+strings.Join(rules, " "), func() bool { return n.said("restored") > before })
			closed(when + ", after " + strings.Join(rules, " "))
		}
	}
	holder := n.hold()
	closed("without a server")
	flush("without a server")
	// The server needs no privilege, and starts no other process.
	n.serve("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
	if children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", n.server.Process.Pid, n.server.Process.Pid)); err != nil || len(children) != 0 {
		t.Errorf("the server has started %s, %v", children, err)
	}
	closed("before the knock")
	opens("with a server")
	// The server dies: closed at once, and the next one takes over.
	n.server.Process.Kill()
	n.server.Wait()
	n.server = nil
	n.await("the holder to close everything", func() bool { return n.said("server gone; everything is closed") == 1 })
	closed("after the server was killed")
	flush("after the server was killed")
	n.serve()
	closed("with the next server")
	opens("with the next server")
	// The holder dies: nothing opens, and the server takes up with the next one.
	holder.Process.Kill()
	holder.Wait()
	n.await("the server to notice", func() bool { return n.said("firewall's holder lost") == 1 })
	if n.reaches(n.stranger, asStranger+":5400") {
		t.Error("open to a stranger without a holder")
	}
	n.closes("pour")
	list, err := os.ReadFile(n.path("gate/clients.txt"))
	if err != nil {
		t.Fatal(err)
	}
	spare := ""
	for line := range strings.Lines(string(list)) {
		if fields := strings.Fields(line); spare == "" && len(fields) > 1 && !strings.HasPrefix(line, "#") {
			spare = fields[0]
		}
	}
	out, err := n.try(nil, n.path("sallyportd"), "client", "revoke", "-c", n.path("gate/sallyportd.toml"), spare)
	if err == nil || !strings.Contains(out, "is granted nothing more, but") || !strings.Contains(out, "when there is a holder again") {
		t.Errorf("a revocation without a holder: %v\n%s", err, out)
	}
	holder = n.hold()
	n.await("the next holder", func() bool { return n.said("firewall's holder found") == 1 })
	closed("with the next holder")
	opens("with the next holder")
	// Each stops in order.
	if err := n.stop(); err != nil {
		t.Errorf("the server stopped with %v", err)
	}
	closed("after the server has stopped")
	flush("after the server has stopped")
	holder.Process.Signal(syscall.SIGTERM)
	if err := holder.Wait(); err != nil {
		t.Errorf("the holder stopped with %v", err)
	}
	closed("after the holder has stopped")
}

// TestHolderReadsItsConfigurationAgain: another configuration is taken without a
// moment in which anything is open, and a server by the one before is refused.
func TestHolderReadsItsConfigurationAgain(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "30s"), "all")
	holder := n.hold()
	n.serve()
	path := n.path("gate/sallyportd.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edited := string(text) + "[[service]]\nname = \"more\"\ntype = \"firewall\"\nlisten = \":5401\"\n"
	for _, next := range []string{"nonsense", edited} {
		if err := os.WriteFile(path, []byte(next), 0o600); err != nil {
			t.Fatal(err)
		}
		taken, refused := n.said("msg=reloaded"), n.said("configuration not taken")
		holder.Process.Signal(syscall.SIGHUP)
		n.await("the holder to read", func() bool { return n.said("msg=reloaded")+n.said("configuration not taken") > taken+refused })
		if (next == edited) != (n.said("msg=reloaded") > taken) {
			t.Fatalf("read %q:\n%s", next, n.log())
		}
	}
	n.await("the server to be refused", func() bool { return n.said("has read another configuration") > 0 })
	if err := n.stop(); err == nil {
		t.Error("the server, which could not close the firewall, says that all is well")
	}
	n.serve()
	n.echo("[::]:5401")
	open := false
	n.within("all", func() { open = n.reaches(n.client, asClient+":5401") }, func() bool { return open })
	if n.reaches(n.stranger, asStranger+":5401") {
		t.Error("open to a stranger")
	}
}

// TestHolderThatHasWaited: one that had to wait, until a server with a holder of its
// own has stopped, holds to what the configuration says then.
func TestHolderThatHasWaited(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5401")
	n.configure(fmt.Sprintf(pour, "30s"), "all")
	n.serve()
	path := n.path("gate/sallyportd.toml")
	log, err := os.OpenFile(n.path("log"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	holder := exec.Command(n.path("sallyportd"), "firewall", "hold", "-c", path)
	holder.Stderr = log
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { holder.Process.Kill() })
	n.await("the holder to wait", func() bool { return n.said("waiting for its end") > 0 })
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "[[service]]\nname = \"more\"\ntype = \"firewall\"\nlisten = \":5401\"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	n.await("the holder", func() bool { return n.said("holding the firewall") > 0 })
	if n.reaches(n.stranger, asStranger+":5401") {
		t.Error("what the configuration hides by now is open")
	}
	n.serve("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
}

// TestSecondServerTouchesNothing: it finds the state directory taken before it
// touches anything of the firewall.
func TestSecondServerTouchesNothing(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure("stealth = true\n"+fmt.Sprintf(pour, "1m"), "all")
	n.serve()
	n.knock("all")
	if !n.reaches(n.client, asClient+":5400") {
		t.Fatal("closed after the knock")
	}
	rules := n.run(nil, "nft", "list", "chain", "inet", "sallyport", "owner")
	out, err := n.try(nil, n.path("sallyportd"), "serve", "-c", n.path("gate/sallyportd.toml"))
	if err == nil || !strings.Contains(out, "is in use by another process") {
		t.Errorf("a second server: %v\n%s", err, out)
	}
	if !n.reaches(n.client, asClient+":5400") {
		t.Error("the second server has ended what the first one granted")
	}
	if now := n.run(nil, "nft", "list", "chain", "inet", "sallyport", "owner"); now != rules {
		t.Errorf("the second server has made the table anew:\n%s\nbefore:\n%s", now, rules)
	}
	// Nor has it closed the knock ports.
	n.knock("all")
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// TestFlushAndStop: the last act of whoever owns the table is that it is there, and
// closed, or an error.
func TestFlushAndStop(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "30s"), "all")
	for i := range 6 {
		n.serve()
		n.run(nil, "nft", "flush", "ruleset")
		if err := n.stop(); err != nil {
			t.Logf("%d: stopped with %v", i, err)
			continue
		}
		if out, err := n.try(nil, "nft", "list", "table", "inet", "sallyport"); err != nil {
			t.Errorf("%d: stopped in order, and left no table: %s", i, out)
		}
		if n.reaches(n.stranger, asStranger+":5400") {
			t.Errorf("%d: open", i)
		}
	}
}

// TestRolledSecretUnderStealth: the holder, which draws the ports by itself, reads
// a new port secret with the server, and takes the ports of both.
func TestRolledSecretUnderStealth(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure("stealth = true\n"+fmt.Sprintf(pour, "2s"), "all")
	config := n.path("gate/sallyportd.toml")
	n.hold()
	n.serve()
	n.run(nil, n.path("sallyportd"), "port-secret", "roll", "-c", config)
	before := n.said("msg=reloaded")
	n.run(nil, n.path("sallyportd"), "reload", "-c", config)
	if n.said("msg=reloaded") == before {
		t.Fatalf("not reloaded:\n%s", n.log())
	}
	text, err := os.ReadFile(n.path("gate/clients.txt"))
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Fields(string(text)[strings.LastIndex(strings.TrimSpace(string(text)), "\n")+1:])[0]
	profile, err := exec.Command(n.path("sallyportd"), "client", "profile", id, "-c", config).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.path("new.toml"), profile, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, profile := range []string{"all", "new"} {
		open := false
		n.within(profile, func() { open = n.reaches(n.client, asClient+":5400") }, func() bool { return open })
		n.closes("pour")
	}
	if n.said("knock ports not opened") > 0 {
		t.Errorf("the holder refused ports:\n%s", n.log())
	}
}
