package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// staysOpen are the services of the tests below: a lease never lasts longer than one
// knock grants.
const staysOpen = `[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "%[1]s"
open_max = "%[1]s"
[[service]]
name = "udp"
type = "proxy"
protocol = "udp"
listen = "[::]:8600"
upstream = "127.0.0.1:7000"
open_for = "%[1]s"
open_max = "%[1]s"
`

// TestStay: while the client stays, no lease ends, with and without a watch; an interrupt
// ends it in order, and then the lease ends.
func TestStay(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("127.0.0.1:7000")
	n.configure(fmt.Sprintf(staysOpen, "10s"), "alice=web", "bob=udp")
	n.setOpenFor("alice", "10s")
	n.serve()
	web := n.stay("alice")
	udp := n.stay("bob") // open_for is not known: as the server's default
	const renewals = 5   // two in each lease
	e := web.await("open", 1)
	if e.Why != "start" || e.Service != asClient+":8080" || e.Address != asClient || !e.Watched || e.OpenForMS == 0 {
		t.Errorf("%+v", e)
	}
	udp.await("open", 1)
	if e := web.await("renewed", renewals); e.Why != "renewal" || !e.Watched {
		t.Errorf("%+v", e)
	}
	if e := udp.await("renewed", renewals); e.Watched {
		t.Errorf("%+v", e)
	}
	if n.counted("msg=closed") > 0 || n.counted("msg=opened service=web ") != 1 || n.counted("msg=opened service=udp ") != 1 {
		t.Errorf("a lease ended:\n%s\n%s\n%s", web.text(), udp.text(), n.log())
	}
	n.opens(n.client, asClient+":8080")
	n.opensUDP(n.client, asClient+":8600")
	web.end(os.Interrupt)
	udp.end(syscall.SIGTERM)
	n.closes("web", "udp")
	if n.reaches(n.client, asClient+":8080") || web.count("failed")+udp.count("failed")+web.count("moving") > 0 {
		t.Errorf("%s\n%s", web.text(), udp.text())
	}
	// So does SIGHUP, when the terminal closes.
	web = n.stay("alice")
	web.await("open", 1)
	web.end(syscall.SIGHUP)
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	if n.counted("rate_limited=") > 0 {
		t.Errorf("the server has refused sequences:\n%s", n.log())
	}
}

// TestStayMoves: a new address gets in without another command. A server that restarts
// lets the client in again.
func TestStayMoves(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(fmt.Sprintf(staysOpen, "1h"), "alice=web")
	n.setOpenFor("alice", "1h")
	n.serve()
	s := n.stay("alice", "--timeout", "1s")
	s.await("open", 1)
	n.opens(n.client, asClient+":8080")
	for i, to := range []string{"198.51.100.7/24", "198.51.100.8/24"} {
		n.moveClient([]string{"198.51.100.2/24", "198.51.100.7/24"}[i], to)
		if e := s.await("open", i+2); e.Why != "network" || e.Service != asClient+":8080" {
			t.Errorf("%+v", e)
		}
		address, _, _ := strings.Cut(to, "/")
		line := "msg=opened service=web client=" + n.identifier("alice") + " address=" + address + " "
		n.await("the line of "+to, func() bool { return n.logged(line) == 1 }) // lines are written later
		n.opens(n.client, asClient+":8080")
	}
	moved := s.count("moving")
	if moved < 2 || s.count("failed") > 0 {
		t.Error(s.text())
	}

	// Another program removes the address for a while: knocks cannot leave.
	n.moveClient("198.51.100.8/24", "")
	n.moveClient("", "198.51.100.9/24")
	if e := s.await("open", 4); e.Why != "network" {
		t.Errorf("%+v", e)
	}
	s.end(os.Interrupt)
}

// TestStayFails: failures are printed once, and the client goes on; when the server is
// back, so is the lease.
func TestStayFails(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(fmt.Sprintf(staysOpen, "1h"), "alice=web")
	s := n.stay("alice", "--every", "1s", "--timeout", "300ms") // there is no server yet
	e := s.await("failed", 1)
	if e.Why != "start" || e.Error == "" || e.Reason == "" || e.Hint == "" || e.RetryMS == 0 {
		t.Errorf("%+v", e)
	}
	n.serve()
	if e := s.await("open", 1); e.Why != "retry" || !e.Watched {
		t.Errorf("%+v", e)
	}
	n.server.Process.Kill()
	n.server.Wait()
	s.await("failed", 2)
	time.Sleep(3 * time.Second) // several retries fail
	n.serve()
	s.await("open", 2)
	if s.count("failed") != 2 {
		t.Errorf("a failure was printed again:\n%s", s.text())
	}
	s.end(os.Interrupt)
}

// moveClient removes an address of the client's host, and adds another one; empty: none.
func (n *network) moveClient(from, to string) {
	n.t.Helper()
	err := n.client.Do(func() error {
		link, err := netlink.LinkByName("client")
		if err != nil {
			return err
		}
		change := func(text string, change func(netlink.Link, *netlink.Addr) error) error {
			if text == "" {
				return nil
			}
			a, err := netlink.ParseAddr(text)
			if err != nil {
				return err
			}
			return change(link, a)
		}
		return errors.Join(change(from, netlink.AddrDel), change(to, netlink.AddrAdd))
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// TestRunStays: while its command runs, "run" keeps the service open, and with --once it
// does not.
func TestRunStays(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(fmt.Sprintf(staysOpen, "10s"), "alice=web")
	n.serve()
	run := func(args ...string) *exec.Cmd {
		t.Helper()
		const command = `echo >"$0"; until test -e "$0.go"; do sleep 0.1; done; exec curl -s -m 5 -o "$0.page" http://{host}:{port}/test1.html`
		cmd := exec.Command(n.path("sallyport"), append(append([]string{"run", n.path("alice.toml")}, args...), "--", "sh", "-c", command, n.path("run"))...)
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
		cmd.Stderr = os.Stderr
		if err := n.client.Do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		n.await("the command", func() bool { _, err := os.Stat(n.path("run")); return err == nil })
		return cmd
	}
	letGo := func(cmd *exec.Cmd) (page bool) {
		t.Helper()
		if err := os.WriteFile(n.path("run.go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		_, missing := os.Stat(n.path("run.page"))
		for _, name := range []string{"run", "run.go", "run.page"} {
			os.Remove(n.path(name))
		}
		return err == nil && missing == nil
	}
	once := run("--once")
	n.closes("web")
	if letGo(once) {
		t.Error("a connection after the end of the lease got in, although run knocked once")
	}
	for _, args := range [][]string{nil, {"--keep-open", "3s"}} {
		closed, extended := n.counted("msg=closed"), n.counted("msg=extended")
		stays := run(args...)
		n.await("renewals", func() bool { return n.logged("msg=extended") >= extended+8 }) // of two sequences each
		if !letGo(stays) {
			t.Errorf("%q: a later connection did not get in", args)
		}
		if n.counted("msg=closed") > closed {
			t.Errorf("%q: the lease ended:\n%s", args, n.log())
		}
		n.closes("web")
	}
}

// TestStayRotates: each minute's port is opened, and printed.
func TestStayRotates(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure("[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":0\"\nport = \"rotate\"\nrotate_ports = \"10000-15999\"\nopen_for = \"10s\"\nopen_max = \"10s\"\n", "web=web")
	n.serve()
	s := n.stay("web")
	begun := time.Now()
	services := map[string]bool{s.await("open", 1).Service: true}
	next := s.await("open", 2)
	services[next.Service] = true
	if next.Why != "renewal" || len(services) != 2 {
		t.Errorf("services %v, %+v", services, next)
	}
	n.opens(n.client, next.Service)
	for service := range services {
		_, text, _ := strings.Cut(service, ":")
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || !n.isDrawn("web", uint16(port), begun) {
			t.Errorf("%s is not drawn (%v)", service, err)
		}
	}
	s.end(os.Interrupt)
}

// TestStayExchanges: by exchanges, an operation stays open too.
func TestStayExchanges(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure("clock_tolerance = \"5s\"\n" + fmt.Sprintf(staysOpen, "10s") + "[challenge]\n" + n.operation("stay-web", "service = \"web\""))
	n.operationProfile("stay-web")
	n.serve()
	s := n.stay("stay-web")
	s.await("open", 1)
	s.await("renewed", 4)
	if n.counted("msg=closed") > 0 || n.counted("msg=opened service=web ") != 1 || s.count("failed") > 0 {
		t.Errorf("the lease ended:\n%s\n%s", s.text(), n.log())
	}
	n.moveClient("198.51.100.2/24", "198.51.100.7/24")
	s.await("open", 2)
	n.opens(n.client, asClient+":8080")
	s.end(os.Interrupt)
	n.closes("web")
}
