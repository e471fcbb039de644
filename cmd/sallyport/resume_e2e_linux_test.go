package main

import (
	"net"
	"testing"
	"time"
)

// resumed is a service whose leases outlast a restart, but not their client.
const resumed = `resume_leases = true
[[service]]
name = "endless"
type = "firewall"
listen = ":50050"
open_for = "10m"
`

// TestReplacedServer: a server is replaced by another one. A connection that a grant has
// let in lives on, and its client gets in again without a knock. A stranger that looks
// every 50 ms never does. A client that is revoked while no server runs is out.
func TestReplacedServer(t *testing.T) { replaceServer(t, false) }

// TestReplacedServerOfHolder is the same with a holder that outlives the servers.
func TestReplacedServerOfHolder(t *testing.T) { replaceServer(t, true) }

func replaceServer(t *testing.T, held bool) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:50050")
	n.configure(resumed, "all")
	if held {
		n.hold()
	}
	n.serve()
	n.knock("all")
	var connection net.Conn
	n.await("a connection", func() bool {
		connection = n.stream(n.client, asClient+":50050")
		return connection != nil
	})
	over, looks := make(chan struct{}), make(chan int)
	go func() {
		count := 0
		for {
			select {
			case <-over:
				looks <- count
				return
			default:
			}
			c, err := n.dialUntil(time.Now().Add(50*time.Millisecond), n.stranger, "tcp", asStranger+":50050")
			if err == nil {
				c.Close()
				t.Error("a stranger gets in")
			}
			count++
		}
	}()
	replace := func(between func()) {
		t.Helper()
		if err := n.stop(); err != nil {
			t.Error(err)
		}
		if n.reaches(n.client, asClient+":50050") {
			t.Error("open while no server runs")
		}
		between()
		n.serve()
	}
	replace(func() {})
	if !keepsOn(connection) {
		t.Error("the connection has ended")
	}
	n.opens(n.client, asClient+":50050")
	replace(func() {
		n.run(nil, n.path("sallyportd"), "client", "revoke", "-c", n.path("gate/sallyportd.toml"), n.identifier("all"))
	})
	if n.reaches(n.client, asClient+":50050") {
		t.Error("a client is let in that was revoked while no server ran")
	}
	n.await("the end of the revoked client's connection", func() bool { return !streams(connection) })
	close(over)
	if count := <-looks; count == 0 {
		t.Error("the stranger has not looked")
	}
}
