package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// transfer is a connection that downloads, and one that uploads.
type transfer struct {
	name                 string
	downloaded, uploaded atomic.Int64
}

// transfer begins a transfer. A connection that is refused ends without an error.
func (n *network) transfer(name, address string) *transfer {
	tr := &transfer{name: name}
	begin := func(run func(net.Conn)) {
		c, err := n.dial(n.client, "tcp", address)
		if err != nil {
			return
		}
		n.t.Cleanup(func() { c.Close() })
		go run(c)
	}
	begin(func(c net.Conn) {
		b := make([]byte, 64<<10)
		for {
			m, err := c.Read(b)
			if err != nil {
				return
			}
			tr.downloaded.Add(int64(m))
		}
	})
	begin(func(c net.Conn) {
		for {
			m, err := c.Write(make([]byte, 4096))
			if err != nil {
				return
			}
			tr.uploaded.Add(int64(m))
			time.Sleep(time.Millisecond)
		}
	})
	return tr
}

// TestLeaseEndsDuringTransfer: a lease expires during transfers. With "keep" they
// continue in both directions; with "cut" they end. New connections are refused in
// both cases.
func TestLeaseEndsDuringTransfer(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5401")
	n.echo("[::]:5402")
	n.echo("127.0.0.1:5400")
	var config strings.Builder
	ports := map[string]string{}
	for i, kind := range []string{"firewall", "proxy"} {
		for j, onClose := range []string{"keep", "cut"} {
			port := fmt.Sprint([][]int{{5401, 5402}, {8001, 8002}}[i][j])
			ports[kind+" "+onClose] = port
			fmt.Fprintf(&config, "[[service]]\nname = \"%s-%s\"\ntype = %q\nlisten = \":%s\"\non_close = %q\nopen_for = \"3s\"\n", kind, onClose, kind, port, onClose)
			if kind == "proxy" {
				config.WriteString("upstream = \"127.0.0.1:5400\"\n")
			}
		}
	}
	n.configure(config.String(), "all")
	n.serve()
	var transfers []*transfer
	n.within("all", func() {
		transfers = nil
		for name, port := range ports {
			transfers = append(transfers, n.transfer(name, asClient+":"+port))
		}
		time.Sleep(100 * time.Millisecond) // not a condition: they may begin later
	}, func() bool {
		return !slices.ContainsFunc(transfers, func(tr *transfer) bool {
			return tr.downloaded.Load() == 0 || tr.uploaded.Load() == 0
		})
	})
	stopped := func(tr *transfer) bool {
		before, beforeUp := tr.downloaded.Load(), tr.uploaded.Load()
		time.Sleep(time.Second) // long enough for one that continues
		return tr.downloaded.Load() == before && tr.uploaded.Load() == beforeUp
	}
	n.closes("firewall-keep", "firewall-cut", "proxy-keep", "proxy-cut")
	for name, port := range ports {
		if n.reaches(n.client, asClient+":"+port) {
			t.Errorf("%s: a new connection after the lease", name)
		}
	}
	for _, tr := range transfers {
		keeps := strings.HasSuffix(tr.name, "keep")
		if !keeps {
			// Data on the way may still arrive.
			n.await(tr.name+" to stop", func() bool { return stopped(tr) })
			continue
		}
		down, up := tr.downloaded.Load(), tr.uploaded.Load()
		n.await(tr.name+" to continue after the lease", func() bool {
			return tr.downloaded.Load() > down && tr.uploaded.Load() > up
		})
	}
	// The revocation of a client ends its connections, although the leases expired before.
	text, err := os.ReadFile(n.path("gate/clients.txt"))
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Fields(string(text)[strings.LastIndex(strings.TrimSpace(string(text)), "\n")+1:])[0]
	n.run(nil, n.path("sallyportd"), "client", "revoke", id, "-c", n.path("gate/sallyportd.toml"))
	n.await("the revocation", func() bool { return strings.Contains(n.log(), "what=clients clients=0") })
	for _, tr := range transfers {
		n.await(tr.name+" of a revoked client to stop", func() bool { return stopped(tr) })
	}
}

// TestKilledProcess: when the server or the holder is killed, open services close no
// later than their leases expire, new clients are not accepted, and hidden ports stay
// hidden.
func TestKilledProcess(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure("[[service]]\nname = \"pour\"\ntype = \"firewall\"\nlisten = \":5400\"\nopen_for = \"4s\"\n", "all")
	port := asClient + ":5400"
	for _, killed := range []string{"the server", "the holder"} {
		n.serve()
		helper := n.helperOf(n.server.Process.Pid)
		if n.reaches(n.client, port) {
			t.Fatalf("%s: open before the knock", killed)
		}
		var running net.Conn
		n.within("all", func() { running, _ = n.dial(n.client, "tcp", port) }, func() bool { return running != nil })
		defer running.Close()
		victim := n.server.Process.Pid
		if killed == "the holder" {
			victim = helper
		}
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		err := n.server.Wait()
		n.server = nil
		if killed == "the holder" {
			if err == nil || !strings.Contains(n.log(), "the firewall's holder is gone") {
				t.Errorf("the server without its helper: %v\n%s", err, n.log())
			}
		} else {
			n.await("the end of the holder", func() bool { return !alive(helper) })
			if n.reaches(n.client, port) {
				t.Error("open after the server was killed")
			}
		}
		if n.reaches(n.stranger, asStranger+":5400") {
			t.Errorf("%s: open to a stranger", killed)
		}
		n.await("the end of the lease, by the kernel alone", func() bool { return !n.reaches(n.client, port) })
		// The client stays connected.
		if _, err := io.CopyN(io.Discard, running, 1<<20); err != nil {
			t.Errorf("%s: a connection from before: %v", killed, err)
		}
	}
	// The next server takes over the table.
	n.serve()
	if n.reaches(n.client, port) {
		t.Error("open after a new start")
	}
	open := false
	n.within("all", func() { open = n.reaches(n.client, port) }, func() bool { return open })
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if n.reaches(n.client, port) {
		t.Error("open after an orderly stop")
	}
}

// helperOf returns the process of a server's helper.
func (n *network) helperOf(server int) int {
	n.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", server, server))
	if err != nil {
		n.t.Fatal(err)
	}
	// After the re-execution, the main thread is the only one with children.
	fields := strings.Fields(string(text))
	if len(fields) != 1 {
		n.t.Fatalf("the server has children %q", text)
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		n.t.Fatal(err)
	}
	return pid
}

// TestPrivilegesAreDropped checks the privileges of both processes in /proc.
func TestPrivilegesAreDropped(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newNetwork(t)
	n.configure("stealth = true\nuser = \"65534\"\n[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":8080\"\n", "all")
	for _, dir := range []string{n.dir, filepath.Dir(n.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.run(nil, "chown", "-R", "65534:65534", n.path("gate"))
	n.serve()
	server := n.server.Process.Pid
	helper := n.helperOf(server)
	for _, row := range []struct {
		pid       int
		key, want string
	}{
		{server, "CapPrm", "0000000000000000"}, {server, "CapEff", "0000000000000000"}, {server, "CapAmb", "0000000000000000"}, {server, "CapInh", "0000000000000000"},
		{server, "NoNewPrivs", "1"}, {server, "Uid", "65534 65534 65534 65534"}, {server, "Gid", "65534 65534 65534 65534"}, {server, "Groups", "65534"}, {server, "Name", "sallyportd"}, {helper, "Name", "sallyportd"},
		{helper, "CapPrm", "0000000000001000"}, {helper, "CapEff", "0000000000001000"}, {helper, "NoNewPrivs", "1"},
	} {
		if got := n.status(row.pid, row.key); got != row.want {
			t.Errorf("%s of %s: %s, want %s", row.key, map[int]string{server: "the server", helper: "the holder"}[row.pid], got, row.want)
		}
	}
	n.knock("all")
	got := n.run(n.client, "curl", "-sS", "http://"+asClient+":8080/test1.html")
	if !strings.Contains(got, "You knocked correctly") {
		t.Errorf("curl printed %q", got)
	}
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if alive(helper) {
		n.await("the end of the holder", func() bool { return !alive(helper) })
	}
}

// TestUnprivilegedStart: a user without privileges starts the server.
func TestUnprivilegedStart(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newNetwork(t)
	n.configure("[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":8080\"\n", "all")
	for _, dir := range []string{n.dir, filepath.Dir(n.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.run(nil, "chown", "-R", "65534:65534", n.path("gate"))
	n.serve("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
	for key, want := range map[string]string{"NoNewPrivs": "1", "CapPrm": "0000000000000000", "Uid": "65534 65534 65534 65534"} {
		if got := n.status(n.server.Process.Pid, key); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// TestCaptureKeepsNoCapability: a server that captures packets has no capability, nor
// has the process that captures for it; and another process of their user cannot take
// the sockets out of that process.
func TestCaptureKeepsNoCapability(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newNetwork(t)
	n.configure("user = \"65534\"\n[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":8080\"\n[challenge]\n" + n.operation("web-alice-", "service = \"web\""))
	n.operationProfile("web-alice-")
	for _, dir := range []string{n.dir, filepath.Dir(n.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.run(nil, "chown", "-R", "65534:65534", n.path("gate"), n.path("secret-web-alice-"))
	n.serve()
	server := n.server.Process.Pid
	helper := n.helperOf(server)
	for _, pid := range []int{server, helper} {
		for key, want := range map[string]string{
			"NoNewPrivs": "1", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
			"Uid": "65534 65534 65534 65534", "Groups": "65534", "Name": "sallyportd",
		} {
			if got := n.status(pid, key); got != want {
				t.Errorf("%s of %d: %s, want %s", key, pid, got, want)
			}
		}
	}
	// Neither descriptors nor memory: ls of the server's, as a control, succeeds.
	asUser := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls"}
	n.run(nil, asUser[0], append(asUser[1:], fmt.Sprintf("/proc/%d/fd/", server))...)
	if out, err := n.try(nil, asUser[0], append(asUser[1:], fmt.Sprintf("/proc/%d/fd/", helper))...); err == nil {
		t.Errorf("the sockets lie open to processes of the same user: %s", out)
	}
	if out, err := n.knockBy(n.client, "web-alice-"); err != nil {
		t.Errorf("%v, %s\n%s", err, out, n.log())
	}
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	n.await("the end of the process that captures", func() bool { return ended(helper) })
}

// TestCapturerEnds: without the process that captures for it, the server stops; and a
// server that was killed leaves no such process.
func TestCapturerEnds(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newNetwork(t)
	n.configure("[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":8080\"\n[challenge]\n" + n.operation("web-alice-", "service = \"web\""))
	n.serve()
	helper := n.helperOf(n.server.Process.Pid)
	if err := syscall.Kill(helper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := n.server.Wait()
	n.server = nil
	if err == nil || !strings.Contains(n.log(), "the process that captures packets has ended") {
		t.Errorf("stopped with %v\n%s", err, n.log())
	}
	n.serve()
	helper = n.helperOf(n.server.Process.Pid)
	if err := n.server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	n.server.Wait()
	n.server = nil
	n.await("the end of the process that captures", func() bool { return ended(helper) })
}

// ended reports whether a process has ended, waited for or not.
func ended(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err != nil || strings.Contains(string(text), "\nState:\tZ")
}

// status returns a value of /proc/PID/status.
func (n *network) status(pid int, key string) string {
	n.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.Join(strings.Fields(regexp.MustCompile(`(?m)^` + key + `:(.*)$`).FindStringSubmatch(string(text))[1]), " ")
}

// TestTableIsRestored: when another program flushes the ruleset, the table is restored
// soon, and no lease ends.
func TestTableIsRestored(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure("stealth = true\n[[service]]\nname = \"pour\"\ntype = \"firewall\"\nlisten = \":5400\"\nopen_for = \"60s\"\n", "all")
	n.serve()
	n.knock("all")
	for i := range 3 {
		n.run(nil, "nft", "flush", "ruleset")
		n.await("the table made anew", func() bool { return strings.Count(n.log(), "restored") == i+1 })
		if n.reaches(n.stranger, asStranger+":5400") {
			t.Error("open to a stranger")
		}
		n.opens(n.client, asClient+":5400") // the lease is not lost
	}
	// The knock ports are restored as well, although no minute began meanwhile.
	if got := n.run(nil, "nft", "list", "set", "inet", "sallyport", "knock"); strings.Count(got, "timeout") < 3 {
		t.Errorf("the knock ports are lost: %s", got)
	}
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if n.reaches(n.client, asClient+":5400") {
		t.Error("open after the stop")
	}
	// The server waited for the holder.
	if got := n.run(nil, "nft", "list", "set", "inet", "sallyport", "knock"); strings.Contains(got, "elements") {
		t.Errorf("ports take knocks after the stop: %s", got)
	}
}
