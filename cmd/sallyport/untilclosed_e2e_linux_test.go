package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// untilClosed are the ports of the services of the tests below.
var untilClosed = map[string]string{"web": "8080", "pour": "5400", "proxy": "8400", "any": "8500"}

// configureUntilClosed makes a server on which a lease of knocks lasts a second, and
// no element of the kernel more than two.
func (n *network) configureUntilClosed() {
	n.t.Helper()
	const short = "open_for = \"1s\"\nopen_max = \"2s\"\n"
	text := `clock_tolerance = "5s"
[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
` + short + `[[service]]
name = "pour"
type = "firewall"
listen = ":5400"
` + short + `[[service]]
name = "proxy"
type = "proxy"
listen = "[::]:8400"
upstream = "127.0.0.1:5401"
` + short + `[[service]]
name = "any"
type = "web"
listen = "[::]:8500"
open_to = "anyone"
` + short + `[[service]]
name = "udp"
type = "proxy"
protocol = "udp"
listen = "[::]:8600"
upstream = "127.0.0.1:5401"
` + short + "[challenge]\n" + n.operation("hold-udp", "service = \"udp\"\nopen_for = \"until-closed\"") + n.operation("free-udp", "service = \"udp\"\naction = \"close\"")
	for name := range untilClosed {
		text += n.operation("hold-"+name, fmt.Sprintf("service = %q\nclient = \"com1\"\nopen_for = \"until-closed\"", name))
		text += n.operation("free-"+name, fmt.Sprintf("service = %q\nclient = \"com1\"\naction = \"close\"", name))
	}
	text += n.operation("all-hold-web", "service = \"web\"\nopen_for = \"until-closed\"") + n.operation("all-free-web", "service = \"web\"\naction = \"close\"")
	n.configure(text)
	list := []byte("com1 0123456789abcdef0123456789abcdef 0\n")
	if err := os.WriteFile(n.path("gate/clients.txt"), list, 0o600); err != nil {
		n.t.Fatal(err)
	}
	for name := range untilClosed {
		n.operationProfile("hold-" + name)
		n.operationProfile("free-" + name)
	}
	for _, id := range []string{"hold-udp", "free-udp"} {
		n.operationProfile(id)
	}
	n.operationProfile("all-hold-web")
	n.operationProfile("all-free-web")
}

// request requests an operation, and waits until the server has executed it.
func (n *network) request(id string, args ...string) {
	n.t.Helper()
	before := n.counted(`msg="operation executed" operation=` + id + " ")
	if out, err := n.knockBy(n.client, id, args...); err != nil {
		n.t.Fatalf("%s: %v, %s\n%s", id, err, out, n.log())
	}
	n.await(id, func() bool { return n.logged(`msg="operation executed" operation=`+id+" ") > before })
}

// held checks that services are open to the client, and to no stranger.
func (n *network) held(when string, names ...string) {
	n.t.Helper()
	for _, name := range names {
		n.opens(n.client, asClient+":"+untilClosed[name])
		if name == "any" {
			n.opens(n.stranger, asStranger+":"+untilClosed[name])
		} else if n.reaches(n.stranger, asStranger+":"+untilClosed[name]) {
			n.t.Errorf("%s: %s is open to a stranger", when, name)
		}
	}
}

// shut checks that services are closed to all.
func (n *network) shut(when string, names ...string) {
	n.t.Helper()
	for _, name := range names {
		if n.reaches(n.client, asClient+":"+untilClosed[name]) || n.reaches(n.stranger, asStranger+":"+untilClosed[name]) {
			n.t.Errorf("%s: %s is open\n%s", when, name, n.log())
		}
	}
}

// end ends the server with a signal, and starts the next one.
func (n *network) end(signal syscall.Signal) {
	n.t.Helper()
	n.server.Process.Signal(signal)
	n.server.Wait()
	n.server = nil
}

// leaseRow is a line of "lease list --json".
type leaseRow struct {
	Service, Client, Operation, Peer string
	Until                            *time.Time
	InForce                          bool `json:"in_force"`
}

func (n *network) leaseRows() (rows []leaseRow) {
	n.t.Helper()
	out := n.run(nil, n.path("sallyportd"), "lease", "list", "--json", "-c", n.path("gate/sallyportd.toml"))
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "{") {
			continue // the warning that no server runs
		}
		var row leaseRow
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			n.t.Fatalf("%v: %s", err, out)
		}
		rows = append(rows, row)
	}
	return rows
}

// TestUntilClosed: a lease without an end outlasts open_max and restarts of every
// kind, for its address only; while no process runs, the kernel closes it; and once
// an operation has closed it, it stays closed.
func TestUntilClosed(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.echo("127.0.0.1:5401")
	n.configureUntilClosed()
	n.serve()
	all := []string{"web", "pour", "proxy", "any"}
	n.shut("before the request", all...)
	for _, name := range all {
		n.request("hold-" + name)
	}
	n.held("at first", all...)
	time.Sleep(3 * time.Second) // longer than open_max
	n.held("after open_max", all...)
	rows := n.leaseRows()
	if len(rows) != len(all) {
		t.Errorf("leases: %+v", rows)
	}
	for _, row := range rows {
		if row.Until != nil || !row.InForce || row.Client != "com1" || row.Operation != "hold-"+row.Service || row.Peer != "198.51.100.2/32" {
			t.Errorf("lease: %+v", row)
		}
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		n.end(signal)
		n.await("the services to close", func() bool { return !n.reaches(n.client, asClient+":5400") })
		n.shut(fmt.Sprintf("while no server runs, after %v", signal), all...)
		if rows := n.leaseRows(); len(rows) != len(all) || rows[0].InForce {
			t.Errorf("leases without a server: %+v", rows)
		}
		n.serve()
		n.held(fmt.Sprintf("after %v", signal), all...)
	}
	// All processes die at once: the kernel closes the service.
	pid := n.server.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil || len(children) == 0 {
		t.Fatalf("the server has no holder: %v", err)
	}
	netns.Stop(t, pid)
	for _, child := range strings.Fields(string(children)) {
		helper, err := strconv.Atoi(child)
		if err != nil {
			t.Fatal(err)
		}
		syscall.Kill(helper, syscall.SIGKILL)
	}
	n.end(syscall.SIGKILL)
	n.await("the kernel to close the service", func() bool { return !n.reaches(n.client, asClient+":5400") })
	n.serve()
	n.held("after all have died", all...)
	// A close by another operation changes nothing: it is for no client.
	n.request("all-free-web")
	n.held("after a close without a client", "web")
	for _, name := range all {
		n.request("free-" + name)
	}
	n.await("the close", func() bool { return n.logged("requested by the client") == len(all) })
	n.shut("after the close", all...)
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		n.end(signal)
		n.serve()
		time.Sleep(time.Second)
		n.shut(fmt.Sprintf("closed, after %v", signal), all...)
	}
	if rows := n.leaseRows(); len(rows) != 0 {
		t.Errorf("leases after the close: %+v", rows)
	}
}

// TestUntilClosedByTheAdministrator: with and without a server, and over IPv6; and a
// new secret of the operation ends the lease.
func TestUntilClosedByTheAdministrator(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.echo("127.0.0.1:5401")
	n.configureUntilClosed()
	n.serve()
	config := n.path("gate/sallyportd.toml")
	lease := func(args ...string) string {
		t.Helper()
		return n.run(nil, n.path("sallyportd"), append([]string{"lease"}, append(args, "-c", config)...)...)
	}
	n.request("hold-web")
	n.request("hold-pour")
	n.request("all-hold-web")
	// Two leases for one address: with one closed, the other admits it.
	if out := lease("close", "--client", "com1", "--service", "web"); !strings.Contains(out, "Closed 1 lease.") {
		t.Errorf("close: %s", out)
	}
	n.held("the lease without a client", "web", "pour")
	n.end(syscall.SIGKILL)
	n.serve()
	n.held("the lease without a client, after a restart", "web", "pour")
	n.request("all-free-web")
	n.shut("the last lease", "web")
	if out := lease("close", "--address", "198.51.100.0/24"); !strings.Contains(out, "Closed 1 lease.") {
		t.Errorf("close: %s", out)
	}
	n.shut("closed by the administrator", "web", "pour")
	n.await("the log", func() bool { return n.logged("closed by the administrator") == 2 })
	n.end(syscall.SIGKILL)
	n.serve()
	time.Sleep(time.Second)
	n.shut("closed by the administrator, after a restart", "web", "pour")
	// Without a server.
	n.request("hold-proxy")
	n.end(syscall.SIGTERM)
	out := lease("list")
	if !strings.Contains(out, "no server runs") || !strings.Contains(out, "until closed  hold-proxy  recorded") {
		t.Errorf("list: %s", out)
	}
	if out := lease("close", "--all"); !strings.Contains(out, "Removed 1 lease from the record") {
		t.Errorf("close: %s", out)
	}
	n.serve()
	time.Sleep(time.Second)
	n.shut("closed without a server", "proxy")
	// IPv6.
	n.run(nil, n.path("sallyportd"), "operation", "profile", "hold-pour", "-c", config, "--server", "2001:db8::1", "--out", n.path("six.toml"))
	if out, err := n.knockBy(n.client, "six"); err != nil {
		t.Fatalf("%v, %s\n%s", err, out, n.log())
	}
	n.end(syscall.SIGKILL)
	n.serve()
	n.opens(n.client, "[2001:db8::1]:5400")
	if n.reaches(n.stranger, "[2001:db8:1::1]:5400") || n.reaches(n.client, asClient+":5400") {
		t.Error("open to another address")
	}
	// A new secret, while no server runs and while one does.
	for _, running := range []bool{false, true} {
		if !running {
			n.end(syscall.SIGKILL)
		}
		secret := fmt.Appendf(nil, "another secret %v 0123456789abcdef\n", running)
		if err := os.WriteFile(n.path("secret-hold-pour"), secret, 0o600); err != nil {
			t.Fatal(err)
		}
		if running {
			n.run(nil, n.path("sallyportd"), "reload", "-c", config)
		} else {
			n.serve()
		}
		time.Sleep(time.Second)
		if n.reaches(n.client, "[2001:db8::1]:5400") {
			t.Errorf("open with a new secret, running %v:\n%s", running, n.log())
		}
		if rows := n.leaseRows(); len(rows) != 0 {
			t.Errorf("leases: %+v", rows)
		}
		if !running {
			n.run(nil, "rm", n.path("six.toml"))
			n.run(nil, n.path("sallyportd"), "operation", "profile", "hold-pour", "-c", config, "--server", "2001:db8::1", "--out", n.path("six.toml"))
			if out, err := n.knockBy(n.client, "six"); err != nil {
				t.Fatalf("%v, %s\n%s", err, out, n.log())
			}
		}
	}
	if n.counted("the operation has a new secret") != 2 {
		t.Errorf("the reasons:\n%s", n.log())
	}
	// A damaged record opens nothing, and is not used again. Without a client, only
	// operations that belong to none can open.
	n.request("all-hold-web")
	n.end(syscall.SIGKILL)
	record := n.path("gate/state/open-leases")
	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	damaged := strings.Replace(string(text), "198.51.100.2", "198.51.100.3", 1)
	if err := os.WriteFile(record, []byte(damaged), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.path("gate/clients.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.serve()
	time.Sleep(500 * time.Millisecond)
	n.shut("with a damaged record", "web")
	if n.counted("recorded leases unreadable; opening none of them") != 1 || len(n.leaseRows()) != 0 {
		t.Errorf("with a damaged record: %+v\n%s", n.leaseRows(), n.log())
	}
	const only = `msg="clients file names no client; only operations can open" operation=hold-udp,all-hold-web`
	if n.counted(only) != 1 {
		t.Errorf("without a client:\n%s", n.log())
	}
	n.request("all-hold-web")
	n.held("without a client", "web")
	// UDP.
	n.request("hold-udp", "--no-wait")
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		n.end(signal)
		n.serve()
		n.opensUDP(n.client, asClient+":8600")
		if n.echoes(n.stranger, asStranger+":8600") {
			t.Error("open to a stranger over UDP")
		}
	}
	n.request("free-udp")
	if n.echoes(n.client, asClient+":8600") {
		t.Error("open over UDP after the close")
	}
}

// TestUntilClosedRevoked: whatever takes the right away, with a server or without
// one, ends the lease, and no restart opens it again.
func TestUntilClosedRevoked(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configureUntilClosed()
	config := n.path("gate/sallyportd.toml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	// Only the web service; a removed client waits for a short time.
	whole := "clients_settle = \"200ms\"\n" + string(text)
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(n.path("gate/"+name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const client = "com1 0123456789abcdef0123456789abcdef 0\n"
	command := func(args ...string) { n.run(nil, n.path("sallyportd"), append(args, "-c", config)...) }
	edit := func(old, new string) func() {
		return func() {
			if !strings.Contains(whole, old) {
				t.Fatalf("the configuration lacks %q", old)
			}
			write("sallyportd.toml", strings.Replace(whole, old, new, 1))
			if n.server != nil {
				command("reload")
			}
		}
	}
	const operation = "service = \"web\"\nclient = \"com1\"\nopen_for = \"until-closed\""
	for name, change := range map[string]func(){
		"revoke":         func() { command("client", "revoke", "com1") },
		"rotate":         func() { command("client", "rotate", "com1", "--out", n.path(fmt.Sprint(time.Now().UnixNano()))) },
		"rights":         func() { command("client", "allow", "com1", "pour") },
		"removed":        func() { write("clients.txt", "com2 0123456789abcdef0123456789abcdef 0\n") },
		"from":           edit(operation, operation+"\nfrom = [\"192.0.2.0/24\"]"),
		"an end":         edit(operation, strings.Replace(operation, "until-closed", "1s", 1)),
		"operation":      edit("id = \"hold-web\"", "id = \"held-web\""),
		"another client": edit(operation, strings.Replace(operation, "com1", "com3", 1)),
		"open to anyone": edit("listen = \"[::]:8080\"\n", "listen = \"[::]:8080\"\nopen_to = \"anyone\"\n"),
		"of the operation": func() {
			write("../secret-hold-web", "another secret of hold-web 0123456789abcdef\n")
			edit("ports = 3", "ports = 3")()
		},
	} {
		if n.server == nil {
			write("sallyportd.toml", whole)
			write("clients.txt", client)
			n.serve()
		}
		secret, err := os.ReadFile(n.path("secret-hold-web"))
		if err != nil {
			t.Fatal(err)
		}
		for _, running := range []bool{true, false} {
			// A change of open_to requires a restart while a holder runs; one way is
			// enough for some of the others.
			switch name {
			case "open to anyone", "an end", "another client":
				if running {
					continue
				}
			case "revoke", "rights", "operation":
				if !running {
					continue
				}
			}
			n.request("hold-web")
			n.held(name, "web")
			if !running {
				n.end(syscall.SIGKILL)
			}
			if change(); running {
				n.await(name+": the end of the lease", func() bool { return !n.reaches(n.client, asClient+":8080") })
			} else {
				n.serve()
				time.Sleep(500 * time.Millisecond)
				n.shut(name+", changed without a server", "web")
			}
			if rows := n.leaseRows(); len(rows) != 0 {
				t.Errorf("%s, running %v: leases %+v", name, running, rows)
			}
			n.end(syscall.SIGKILL)
			// Even if the right comes back, the lease does not.
			write("sallyportd.toml", whole)
			write("clients.txt", client)
			if err := os.WriteFile(n.path("secret-hold-web"), secret, 0o600); err != nil {
				t.Fatal(err)
			}
			n.serve()
			time.Sleep(100 * time.Millisecond)
			n.shut(fmt.Sprintf("%s, running %v, and the right is back", name, running), "web")
		}
	}
}

// TestUntilClosedWithHolder: while the holder is gone for long, the service is closed; with the
// next one it is open again, unless its client has lost the right meanwhile.
func TestUntilClosedWithHolder(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.echo("127.0.0.1:5401")
	n.configureUntilClosed()
	holder := n.hold()
	n.serve("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
	n.request("hold-pour")
	n.request("hold-proxy")
	for i, revoke := range []bool{false, true} {
		n.held("with a holder", "pour", "proxy")
		holder.Process.Kill()
		holder.Wait()
		n.await("the end of the leases", func() bool { return n.logged("firewall holder lost; all leases end") == i+1 })
		n.await("the services to close", func() bool { return !n.reaches(n.client, asClient+":5400") })
		n.shut("without a holder", "pour", "proxy")
		if rows := n.leaseRows(); len(rows) != 2 || rows[0].InForce || rows[1].InForce {
			t.Errorf("without a holder: %+v", rows)
		}
		if revoke {
			n.try(nil, n.path("sallyportd"), "client", "revoke", "com1", "-c", n.path("gate/sallyportd.toml"))
		}
		holder = n.hold()
		n.await("the next holder", func() bool { return n.logged("firewall holder connected") == i+1 })
	}
	time.Sleep(time.Second)
	n.shut("revoked without a holder", "pour", "proxy")
	if rows := n.leaseRows(); len(rows) != 0 {
		t.Errorf("revoked without a holder: %+v", rows)
	}
}
