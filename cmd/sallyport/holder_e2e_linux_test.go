package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// hold starts "sallyportd firewall hold" with more arguments, and waits until it has the
// table.
func (n *network) hold(more ...string) *exec.Cmd {
	n.t.Helper()
	log, err := os.OpenFile(n.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	before := n.counted("holding the firewall")
	holder := exec.Command(n.path("sallyportd"), append([]string{"firewall", "hold", "-c", n.path("gate/sallyportd.toml")}, more...)...)
	holder.Stderr = log
	if err := holder.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { holder.Process.Kill() })
	n.await("the holder", func() bool { return n.logged("holding the firewall") > before })
	return holder
}

// logged counts the occurrences of a text in the log.
func (n *network) logged(what string) int { return strings.Count(n.log(), what) }

const pour = "[[service]]\nname = \"pour\"\ntype = \"firewall\"\nlisten = \":5400\"\nopen_for = \"%s\"\n"

// TestHolderOutlivesServers: with a separate holder, the firewall stays closed when the
// server stops or is killed, and when the rules are flushed; and a server continues
// with the next holder.
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
			before := n.counted("restored")
			n.run(nil, "nft", rules...)
			n.await(when+": the table after "+strings.Join(rules, " "), func() bool { return n.logged("restored") > before })
			closed(when + ", after " + strings.Join(rules, " "))
		}
	}
	status := func(when string, want ...string) {
		t.Helper()
		out := n.run(nil, n.path("sallyportd"), "status", "-c", n.path("gate/sallyportd.toml"), "--json")
		for _, text := range want {
			if !strings.Contains(out, text) {
				t.Errorf("%s: no %s in\n%s", when, text, out)
			}
		}
	}
	holder := n.hold()
	closed("without a server")
	flush("without a server")
	// The server requires no privileges, and starts no other process.
	n.serve("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
	server := n.server.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", server, server))
	if err != nil || len(children) != 0 {
		t.Errorf("the server has started %s, %v", children, err)
	}
	closed("before the knock")
	opens("with a server")
	// The server is killed: everything closes at once, and the next server takes over.
	n.server.Process.Kill()
	n.server.Wait()
	n.server = nil
	n.await("the holder to close everything", func() bool { return n.logged("server connection lost; everything is closed") == 1 })
	closed("after the server was killed")
	flush("after the server was killed")
	n.serve()
	closed("with the next server")
	opens("with the next server")
	// The holder is killed: nothing opens, and the server connects to the next holder.
	holder.Process.Kill()
	holder.Wait()
	n.await("the server to notice", func() bool { return n.logged("firewall holder lost") == 1 })
	status("without a holder", `"holder":{"connected":false,"restarts":0}`)
	if n.reaches(n.stranger, asStranger+":5400") {
		t.Error("open to a stranger without a holder")
	}
	n.closes("pour")
	status("without a holder for long", `"type":"firewall","leases":0,`)
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
	if err == nil || !strings.Contains(out, "grants it nothing further, but") || !strings.Contains(out, "when a holder runs again") {
		t.Errorf("a revocation without a holder: %v\n%s", err, out)
	}
	holder = n.hold()
	n.await("the next holder", func() bool { return n.logged("firewall holder connected") == 1 })
	status("with the next holder", `"holder":{"connected":true,"restarts":1}`)
	closed("with the next holder")
	opens("with the next holder")
	// Both stop in order.
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

// TestHolderReloads: the holder applies a new configuration without opening anything,
// and rejects a server with the previous one.
func TestHolderReloads(t *testing.T) {
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
		taken, refused := n.counted("msg=reloaded"), n.counted(`nothing reloaded" what=firewall`)
		holder.Process.Signal(syscall.SIGHUP)
		n.await("the holder to read", func() bool {
			return n.logged("msg=reloaded")+n.logged(`nothing reloaded" what=firewall`) > taken+refused
		})
		if (next == edited) != (n.counted("msg=reloaded") > taken) {
			t.Fatalf("read %q:\n%s", next, n.log())
		}
	}
	n.await("the server to be refused", func() bool { return n.logged("has read another configuration") > 0 })
	if err := n.stop(); err == nil {
		t.Error("the server could not close the firewall, and reported no error")
	}
	n.serve()
	n.echo("[::]:5401")
	open := false
	n.within("all", func() { open = n.reaches(n.client, asClient+":5401") }, func() bool { return open })
	if n.reaches(n.stranger, asStranger+":5401") {
		t.Error("open to a stranger")
	}
}

// TestHolderAfterWait: a holder that waited until a server with its own holder stopped
// uses the configuration of that time.
func TestHolderAfterWait(t *testing.T) {
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
	n.await("the holder to wait", func() bool { return n.logged("guards the firewall table; waiting") > 0 })
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "[[service]]\nname = \"more\"\ntype = \"firewall\"\nlisten = \":5401\"\n"...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	n.await("the holder", func() bool { return n.logged("holding the firewall") > 0 })
	if n.reaches(n.stranger, asStranger+":5401") {
		t.Error("a port is open that the new configuration hides")
	}
	n.serve("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
}

// TestSecondServerChangesNothing: a second server finds the state directory in use
// before it changes the firewall.
func TestSecondServerChangesNothing(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure("stealth = true\n"+fmt.Sprintf(pour, "1h")+"open_max = \"1h\"\n", "all")
	n.serve()
	n.knock("all")
	n.opens(n.client, asClient+":5400")
	rules := n.run(nil, "nft", "list", "chain", "inet", "sallyport", "owner")
	out, err := n.try(nil, n.path("sallyportd"), "serve", "-c", n.path("gate/sallyportd.toml"))
	if err == nil || !strings.Contains(out, "is in use by another process") {
		t.Errorf("a second server: %v\n%s", err, out)
	}
	n.opens(n.client, asClient+":5400") // the second server has revoked no lease of the first one
	if now := n.run(nil, "nft", "list", "chain", "inet", "sallyport", "owner"); now != rules {
		t.Errorf("the second server replaced the table:\n%s\nbefore:\n%s", now, rules)
	}
	// The knock ports are still open.
	n.knock("all")
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// TestFlushAndStop: after an orderly stop, the table exists and is closed; otherwise
// the server reports an error.
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
			t.Errorf("%d: no table after an orderly stop: %s", i, out)
		}
		if n.reaches(n.stranger, asStranger+":5400") {
			t.Errorf("%d: open", i)
		}
	}
}

// TestRolledSecretUnderStealth: the holder derives the ports itself. It reads a new port
// secret when the server does, and opens the ports of both secrets.
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
	before := n.counted("msg=reloaded")
	n.run(nil, n.path("sallyportd"), "reload", "-c", config)
	n.await("the reload", func() bool { return n.logged("msg=reloaded") > before }) // lines are written later
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
	if n.counted("failed to open knock ports") > 0 {
		t.Errorf("the holder refused ports:\n%s", n.log())
	}
}
