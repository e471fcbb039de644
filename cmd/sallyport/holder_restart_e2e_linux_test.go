package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// heldServices are services of each kind, with both settings of on_close.
const heldServices = `[[service]]
name = "keep"
type = "firewall"
listen = ":5400"
open_for = "1h"
[[service]]
name = "cut"
type = "firewall"
listen = ":5401"
open_for = "1h"
on_close = "cut"
[[service]]
name = "proxy"
type = "proxy"
listen = "[::]:5402"
open_for = "1h"
upstream = "127.0.0.1:5403"
on_close = "cut"
`

// TestHolderRestarts: "firewall hold" ends and begins again while a server has leases. They
// go on for the time that they have left, connections continue, and nothing is open to a
// stranger at any moment. A client that was revoked meanwhile is cut off.
func TestHolderRestarts(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.echo("[::]:5401")
	n.echo("127.0.0.1:5403")
	n.configure(heldServices, "all", "spare")
	holder := n.hold()
	n.serve("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
	const connected = "firewall holder connected; leases open again"
	again := func(how string, restart func()) {
		t.Helper()
		before := n.logged(connected)
		probed := n.probe("5400", "5401", "5402")
		restart()
		n.await(how+": the leases to open again", func() bool { return n.logged(connected) > before })
		if open := probed(); len(open) > 0 {
			t.Errorf("%s: open to a stranger: %v", how, open)
		}
	}
	n.knock("all")
	var live []admitted
	for _, port := range []int{5400, 5401, 5402} {
		address := fmt.Sprintf("%s:%d", asClient, port)
		n.opens(n.client, address)
		live = append(live, admitted{n.stream(n.client, address), address})
	}
	continues := func(how string) {
		t.Helper()
		for _, c := range live {
			if c.Conn == nil || !keepsOn(c.Conn) {
				t.Errorf("%s: the connection to %s has ended", how, c.address)
			}
			if !n.reaches(n.client, c.address) {
				t.Errorf("%s: the lease for %s has ended", how, c.address)
			}
		}
	}
	again("after its stop", func() {
		holder.Process.Signal(syscall.SIGTERM)
		if err := holder.Wait(); err != nil {
			t.Errorf("the holder stopped with %v", err)
		}
		holder = n.hold()
	})
	continues("after its stop")
	again("after its crash", func() {
		crash(holder)
		holder = n.hold()
	})
	continues("after its crash")
	if log := n.log(); strings.Contains(log, "msg=closed ") {
		t.Errorf("a lease has ended\n%s", log)
	}
	// A client is revoked while no holder runs.
	profile, err := os.ReadFile(n.path("spare.toml"))
	if err == nil {
		err = os.WriteFile(n.path("spare.toml"), []byte(strings.ReplaceAll(string(profile), asClient, asStranger)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := n.tryKnockFrom(n.stranger, "spare"); err != nil {
		t.Fatalf("knock: %v\n%s", err, out)
	}
	n.opens(n.stranger, asStranger+":5400")
	theirs := n.stream(n.stranger, asStranger+":5400")
	crash(holder)
	n.await("the server to notice", func() bool { return n.logged("firewall holder lost") == 3 })
	n.try(nil, n.path("sallyportd"), "client", "revoke", "-c", n.path("gate/sallyportd.toml"), n.identifier("spare"))
	before := n.logged(connected)
	holder = n.hold()
	n.await("the leases of the others to open again", func() bool { return n.logged(connected) > before })
	continues("after a revocation")
	n.await("the end of the revoked client's connection", func() bool { return !streams(theirs) })
	if n.reaches(n.stranger, asStranger+":5400") {
		t.Error("open to a revoked client")
	}
	// No holder comes: all leases end.
	crash(holder)
	n.await("the end of the leases", func() bool { return n.logged("firewall holder lost; all leases end, nothing opens") == 1 })
	n.closes("keep", "cut", "proxy")
	n.hold()
	n.await("the next holder", func() bool { return n.logged("firewall holder connected; everything is closed") == 1 })
	for _, c := range live {
		if n.reaches(n.client, c.address) {
			t.Errorf("%s is open, without a lease", c.address)
		}
	}
}

// admitted is a connection that a lease let in.
type admitted struct {
	net.Conn
	address string
}

// probe makes the stranger connect to ports, again and again. The function that it returns
// stops that, and returns the ports that were open.
func (n *network) probe(ports ...string) (stop func() (open []string)) {
	over, found := make(chan struct{}), make(chan []string)
	go func() {
		var open []string
		for {
			for _, port := range ports {
				c, err := n.dialUntil(time.Now().Add(100*time.Millisecond), n.stranger, "tcp", asStranger+":"+port)
				if err == nil {
					c.Close()
					open = append(open, port)
				}
			}
			select {
			case <-over:
				found <- open
				return
			default:
			}
		}
	}()
	return func() []string {
		close(over)
		return <-found
	}
}

func crash(p *exec.Cmd) {
	p.Process.Kill()
	p.Wait()
}
