package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// ranges are mosh, and FTP with passive transfers, as the guide has them.
const ranges = `[[service]]
name = "mosh"
type = "firewall"
protocol = "udp"
listen = ":60000-61000"
open_for = "4s"
open_max = "8s"
[[service]]
name = "ftp"
type = "firewall"
listen = [":21", ":50000-50100"]
open_for = "4s"
open_max = "8s"
`

// stream opens a connection to a service that sends endlessly. Little of what is sent
// can wait on the way.
func (n *network) stream(on *netns.Host, address string) net.Conn {
	n.t.Helper()
	c, err := n.dial(on, "tcp", address)
	if err != nil {
		return nil
	}
	n.t.Cleanup(func() { c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(1 << 15); err != nil {
		n.t.Fatal(err)
	}
	return c
}

// streams reports whether a connection still delivers data, more than can have waited.
func streams(c net.Conn) bool { return delivers(c) == nil }

// keepsOn is streams for a connection that must deliver. It waits longer than streams,
// because a sender that met a closed window probes it at growing intervals.
func keepsOn(c net.Conn) bool {
	const silences = 15
	var err error
	for range silences {
		if err = delivers(c); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return err == nil
}

func delivers(c net.Conn) error {
	b := make([]byte, 1<<15)
	for total := 0; total < 1<<20; {
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		total += n
	}
	return nil
}

// TestRanges: one grant opens all ports of a range and of a list, and no others; it
// is one element. A connection survives a restart, and a revocation ends it.
func TestRanges(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	for _, port := range []int{21, 50000, 50050, 50100, 50101, 59999, 60000, 60001, 61000, 61001} {
		n.echo(fmt.Sprintf("[::]:%d", port))
	}
	n.configure(endWithServer+ranges, "all")
	n.serve()
	udp, tcp := []int{60000, 60001, 61000}, []int{21, 50000, 50100}
	open := func(on *netns.Host, address string) (open int) {
		for _, port := range udp {
			if n.echoes(on, fmt.Sprintf("%s:%d", address, port)) {
				open++
			}
		}
		for _, port := range tcp {
			if n.reaches(on, fmt.Sprintf("%s:%d", address, port)) {
				open++
			}
		}
		return open
	}
	if got := open(n.client, asClient) + open(n.stranger, asStranger); got != 0 {
		t.Fatalf("%d ports are open before a knock", got)
	}
	for _, port := range []int{59999, 61001} {
		n.opensUDP(n.stranger, fmt.Sprintf("%s:%d", asStranger, port))
	}
	n.opens(n.stranger, asStranger+":50101")
	var connection net.Conn
	all := 0
	n.within("all", func() {
		all = open(n.client, asClient)
		if got := open(n.stranger, asStranger); got != 0 {
			t.Errorf("a stranger reaches %d ports", got)
		}
		for _, set := range []string{"udp_60000_61000", "tcp_21_etc"} {
			list := n.run(nil, "nft", "list", "set", "inet", "sallyport", set+"_granted4")
			if elements := strings.Count(list, "expires"); elements > 1 {
				t.Errorf("a grant is %d elements:\n%s", elements, list)
			}
		}
		if connection == nil {
			connection = n.stream(n.client, asClient+":50050")
		}
	}, func() bool { return all == len(udp)+len(tcp) && connection != nil })
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	n.serve()
	if !keepsOn(connection) {
		t.Error("a restart has ended a connection to a port of a range")
	}
	if got := open(n.client, asClient); got != 0 {
		t.Errorf("%d ports are open after a restart", got)
	}
	n.run(nil, n.path("sallyportd"), "client", "revoke", "-c", n.path("gate/sallyportd.toml"), n.identifier("all"))
	n.await("the end of the revoked client's connection", func() bool { return !streams(connection) })
}

// identifier returns the identifier in a profile.
func (n *network) identifier(profile string) string {
	text, err := os.ReadFile(n.path(profile + ".toml"))
	if err != nil {
		n.t.Fatal(err)
	}
	return regexp.MustCompile(`identifier = '(.*)'`).FindStringSubmatch(string(text))[1]
}

// allow replaces the trusted peers of the configuration.
func (n *network) allow(list string) {
	n.t.Helper()
	path := n.path("gate/sallyportd.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		n.t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^allow = .*$`).ReplaceAll(text, []byte("allow = ["+list+"]"))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		n.t.Fatal(err)
	}
}

const trusting = "[[service]]\nname = \"pour\"\ntype = \"firewall\"\nlisten = \":5400-5410\"\nallow = [%s]\non_close = \"keep\"\n"

// TestTrustedPeers: peers in "allow" get in without a knock and without a server, by
// their address or the interface; a reload adds and removes them, with their
// connections; a restart and a change by another program change nothing.
func TestTrustedPeers(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5405")
	n.configure(fmt.Sprintf(trusting, `"203.0.113.0/24"`), "all")
	config := n.path("gate/sallyportd.toml")
	const one, two, six = asStranger + ":5405", asClient + ":5405", "[2001:db8:1::1]:5405"
	expect := func(when string, stranger, stranger6, client bool) {
		t.Helper()
		for _, row := range []struct {
			on   *netns.Host
			at   string
			want bool
		}{{n.stranger, one, stranger}, {n.stranger, six, stranger6}, {n.client, two, client}} {
			if row.want {
				n.opens(row.on, row.at)
			} else if n.reaches(row.on, row.at) {
				t.Errorf("%s: %s is open", when, row.at)
			}
		}
	}
	n.run(nil, n.path("sallyportd"), "firewall", "load", "-c", config)
	expect("loaded", true, false, false)
	n.serve()
	expect("with a server", true, false, false)
	connection := n.stream(n.stranger, one)
	if connection == nil {
		t.Fatal("a trusted peer cannot connect")
	}
	n.stop()
	expect("without a server", true, false, false)
	n.serve()
	if !keepsOn(connection) {
		t.Error("a restart has ended a trusted peer's connection")
	}
	before := n.counted("restored")
	n.run(nil, "nft", "flush", "ruleset")
	n.await("the table", func() bool { return n.logged("restored") > before })
	expect("after a flush", true, false, false)
	if !keepsOn(connection) {
		t.Error("a flush has ended a trusted peer's connection")
	}

	reload := func(list string) {
		t.Helper()
		n.allow(list)
		n.run(nil, n.path("sallyportd"), "reload", "-c", config)
	}
	reload(`"203.0.113.0/24", "toclient", "no-such-if0"`)
	expect("after a reload", true, false, true)
	if !keepsOn(connection) {
		t.Error("a reload has ended a connection of a peer that stays")
	}
	n.within("all", func() { reload(`"tostranger"`) }, func() bool { return true })
	expect("with another interface", true, true, true) // the client has a lease
	if !keepsOn(connection) {
		t.Error("the peer is trusted by its interface now, and its connection has ended")
	}
	reload("")
	if streams(connection) {
		t.Error("the connection of a peer that is no longer trusted continues")
	}
	n.closes("pour")
	expect("with no peer", false, false, false)

	// A holder that runs alone reads it on SIGHUP.
	n.stop()
	holder := n.hold()
	expect("held", false, false, false)
	n.allow(`"2001:db8:1::2"`)
	holder.Process.Signal(syscall.SIGHUP)
	n.await("the holder to reload", func() bool { return n.logged("msg=reloaded what=firewall") == 1 })
	expect("after the holder has reloaded", false, true, false)
	// And again when a server begins.
	n.allow(`"203.0.113.2"`)
	n.serve("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
	expect("after a server has begun", true, false, false)
}
