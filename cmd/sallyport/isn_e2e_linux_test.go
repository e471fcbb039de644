package main

import (
	"bufio"
	"debug/buildinfo"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// isnNetwork is the network with two hosts behind the client's, which is a NAT for
// them: the server sees both as 198.51.100.2.
//
//	insider 10.0.0.2 ---- 10.0.0.1 client 198.51.100.2 --- 198.51.100.1 server
//	neighbour 10.0.1.2 -- 10.0.1.1 (NAT)
//
// On ports 22 and 23 of the server a program greets, and then echoes lines. Port 22
// requires the initial sequence number.
type isnNetwork struct {
	*network
	insider, neighbour *netns.Host
}

const greeting = "welcome\n"

func newISNNetwork(t *testing.T) *isnNetwork {
	n := &isnNetwork{newNetwork(t), netns.NewHost(t), netns.NewHost(t)}
	if err := n.client.Do(func() error {
		for i, h := range []*netns.Host{n.insider, n.neighbour} {
			_, err := netns.Join(
				netns.End{Name: fmt.Sprintf("inside%d", i), Addresses: []string{fmt.Sprintf("10.0.%d.1/24", i)}}, h,
				netns.End{Name: "uplink", Addresses: []string{fmt.Sprintf("10.0.%d.2/24", i)}})
			if err != nil {
				return err
			}
		}
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	}); err != nil {
		t.Fatal(err)
	}
	for i, h := range []*netns.Host{n.insider, n.neighbour} {
		n.run(h, "ip", "route", "add", "default", "via", fmt.Sprintf("10.0.%d.1", i))
	}
	n.rules(n.client, `table ip nat { chain out { type nat hook postrouting priority srcnat; oifname "client" masquerade; }; }`)
	// The server's packets to the clients, by kind.
	n.rules(nil, `table inet watch {
		counter replies {}
		counter errors {}
		chain out {
			type filter hook output priority 0
			tcp sport { 22, 23 } counter name replies
			icmp type destination-unreachable counter name errors
		}
	}`)
	// On a busy machine, a test takes as long as a connection is idle before the first
	// keep-alive packet, which is no answer to a neighbour.
	quiet := net.ListenConfig{KeepAlive: -1}
	for _, port := range []string{"22", "23"} {
		l, err := quiet.Listen(t.Context(), "tcp", ":"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					io.WriteString(c, greeting)
					io.Copy(c, c)
				}()
			}
		}()
	}
	n.configure(`
[[service]]
name = "ssh"
type = "firewall"
listen = ":22"
bind = "isn"
open_for = "1h"
open_max = "2h"
[[service]]
name = "other"
type = "firewall"
listen = ":23"
open_for = "1h"
open_max = "2h"
[[service]]
name = "shell"
type = "firewall"
listen = ":2222"
bind = "isn"
open_for = "1h"
open_max = "2h"
[challenge]
`+n.operation("ssh-nat--", "service = \"ssh\"\nalgorithm = 2\n")+n.operation("mutual-ssh", "service = \"ssh\"\nalgorithm = 3\n")+
		n.operation("close-ssh", "service = \"ssh\"\naction = \"close\"\n"),
		"one", "two")
	return n
}

// rules loads a ruleset on a host.
func (n *isnNetwork) rules(on *netns.Host, text string) {
	n.t.Helper()
	file := n.path("rules.nft")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	n.run(on, "nft", "-f", file)
}

// sent returns how many packets the server has sent from the ports, and how many ICMP
// errors.
func (n *isnNetwork) sent() (replies, icmp int) {
	n.t.Helper()
	counts := regexp.MustCompile(`counter (replies|errors) \{\s+packets (\d+)`).FindAllStringSubmatch(
		n.run(nil, "nft", "list", "counters", "table", "inet", "watch"), -1)
	if len(counts) != 2 {
		n.t.Fatalf("counters: %q", counts)
	}
	for _, c := range counts {
		packets, _ := strconv.Atoi(c[2])
		if c[1] == "errors" {
			icmp = packets
		} else {
			replies = packets
		}
	}
	return replies, icmp
}

// leases returns how many numbers let an IPv4 client in.
func (n *isnNetwork) leases() int {
	n.t.Helper()
	return strings.Count(n.run(nil, "nft", "list", "set", "inet", "sallyport", "tcp_22_isn4"), "expires")
}

// connection is a running "sallyport connect".
type connection struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err *strings.Builder
}

// connects starts "sallyport connect", and returns it when the service has greeted.
func (n *isnNetwork) connects(on *netns.Host, profile string, args ...string) *connection {
	n.t.Helper()
	c := &connection{cmd: exec.Command(n.path("sallyport"), append([]string{"connect", n.path(profile + ".toml"), "--timeout", "20s"}, args...)...), err: new(strings.Builder)}
	c.cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
	c.cmd.Stderr = c.err
	c.in, _ = c.cmd.StdinPipe()
	out, _ := c.cmd.StdoutPipe()
	c.out = bufio.NewReader(out)
	if err := on.Do(c.cmd.Start); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.end() })
	if line, err := c.out.ReadString('\n'); line != greeting {
		c.end()
		n.t.Fatalf("%s: %q, %v\n%s\nserver: %s", profile, line, err, c.err, n.log())
	}
	return c
}

func (c *connection) end() {
	c.in.Close()
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// lives reports whether a line comes back.
func (c *connection) lives() bool {
	io.WriteString(c.in, "line\n")
	line, err := c.out.ReadString('\n')
	return err == nil && line == "line\n"
}

// greets reports whether a port of the server greets a host that sets no number.
func (n *isnNetwork) greets(on *netns.Host, port string) bool {
	n.t.Helper()
	c, err := n.dial(on, "tcp", net.JoinHostPort(asClient, port))
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(netns.Deadline(n.t))
	line, _ := bufio.NewReader(c).ReadString('\n')
	return line == greeting
}

// neighbourIsOut checks that the neighbour gets no packet of the port at all, while
// the other port, which requires no number, lets it in.
func (n *isnNetwork) neighbourIsOut(when string) {
	n.t.Helper()
	before, icmpBefore := n.sent()
	if n.greets(n.neighbour, "22") || n.greets(n.insider, "22") {
		n.t.Errorf("%s: a connection without the number got in", when)
	}
	if replies, icmp := n.sent(); replies != before || icmp != icmpBefore {
		n.t.Errorf("%s: the server answered a wrong number with %d packets and %d ICMP errors", when, replies-before, icmp-icmpBefore)
	}
}

// TestInitialSequenceNumber: by both protocols, a client gets in from behind a NAT,
// and a neighbour behind the same NAT does not, although the server sees the same
// address, and the lease is in force. The server sends nothing to a wrong number.
func TestInitialSequenceNumber(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newISNNetwork(t)
	options := n.sshd(2222)
	for _, id := range []string{"ssh-nat--", "mutual-ssh", "close-ssh"} {
		n.operationProfile(id)
	}
	for _, name := range []string{"one", "ssh-nat--", "mutual-ssh"} {
		text, err := os.ReadFile(n.path(name + ".toml"))
		if err != nil || !strings.Contains(string(text), "bind = 'isn'") {
			t.Errorf("the profile %s: %v\n%s", name, err, text)
		}
	}
	n.serve()
	n.neighbourIsOut("before")
	var lasting []*connection
	for _, profile := range []string{"one", "ssh-nat--", "mutual-ssh"} {
		c := n.connects(n.insider, profile)
		lasting = append(lasting, c)
		n.neighbourIsOut("during a lease of " + profile)
		if !c.lives() {
			t.Errorf("%s: the connection is dead", profile)
		}
		n.dropped(c)
	}
	if !n.greets(n.neighbour, "23") {
		t.Error("the service that is bound to the address only does not open to a neighbour")
	}
	// Several attempts of a client, and of two clients, are in force at a time.
	second, third := n.connects(n.insider, "two"), n.connects(n.insider, "one")
	for _, c := range append(lasting, second, third) {
		if !c.lives() {
			t.Error("a connection died when another attempt opened")
		}
	}
	// ssh itself, which receives the connection, at another service of the same client.
	ssh := append(options, "-p", "2222", "-o", "ProxyUseFdpass=yes", "-o",
		"ProxyCommand="+n.path("sallyport")+" connect --fdpass "+n.path("one.toml")+" %h %p")
	out := n.run(n.insider, "ssh", append(ssh, asClient, "echo", "$SSH_CONNECTION")...)
	if !strings.Contains(out, asClient+" 2222") {
		t.Errorf("ssh printed %q", out)
	}
	six := n.path("six.toml")
	n.run(nil, n.path("sallyportd"), "client", "add", "-c", n.path("gate/sallyportd.toml"), "--server", "2001:db8::1", "--out", six)
	n.connects(n.client, "six")
	// A close operation ends all leases of its client, here none, at the address, and a
	// revocation also the connections.
	leases := n.leases()
	if out, err := n.knockBy(n.insider, "close-ssh"); err != nil {
		t.Errorf("%v, %s", err, out)
	}
	n.await("the close of both exchanges", func() bool { return n.leases() == leases-2 })
	revoked := n.identifier("two")
	n.run(nil, n.path("sallyportd"), "client", "revoke", revoked, "-c", n.path("gate/sallyportd.toml"))
	n.await("the end of the connection", func() bool { return !second.lives() })
	// The server's kernel keeps no state for a SYN.
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_syncookies", []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	if c := n.connects(n.insider, "one"); !c.lives() {
		t.Error("with SYN cookies, the connection is dead")
	}
	n.neighbourIsOut("with SYN cookies")
}

// dropped checks that a running client has dropped CAP_NET_ADMIN.
func (n *isnNetwork) dropped(c *connection) {
	n.t.Helper()
	info, err := buildinfo.ReadFile(n.path("sallyport"))
	if err != nil {
		n.t.Fatal(err)
	}
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" && s.Value == "1" {
			return // see dropNetAdmin
		}
	}
	const bit = 1 << 12 // CAP_NET_ADMIN
	for _, set := range []string{"CapEff", "CapPrm"} {
		if caps, err := strconv.ParseUint(n.status(c.cmd.Process.Pid, set), 16, 64); err != nil || caps&bit != 0 {
			n.t.Errorf("%s of the client: %x, %v", set, caps, err)
		}
	}
}

// TestInitialSequenceNumberFaults: a client that cannot connect fails before it
// knocks, or prints a hint; a server that dies leaves nothing open.
func TestInitialSequenceNumberFaults(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newISNNetwork(t)
	n.operationProfile("ssh-nat--")
	n.serve()
	knocks := func() string { return n.run(n.client, "nft", "list", "counter", "inet", "knocks", "sent") }
	n.rules(n.client, `table inet knocks { counter sent {}; chain out { type filter hook postrouting priority 0; meta l4proto udp counter name sent; }; }`)
	before := knocks()
	for _, row := range []struct {
		command []string
		want    []string
	}{
		{[]string{"setpriv", "--bounding-set", "-net_admin", n.path("sallyport"), "connect", n.path("one.toml")}, []string{"CAP_NET_ADMIN is missing", "setcap cap_net_admin+ep"}},
		{[]string{"setpriv", "--bounding-set", "-net_admin", n.path("sallyport"), "connect", n.path("ssh-nat--.toml")}, []string{"CAP_NET_ADMIN is missing", "setcap cap_net_admin+ep"}},
		{[]string{n.path("sallyport"), "knock", n.path("one.toml")}, []string{"no connection of another program", "sallyport connect"}},
		{[]string{n.path("sallyport"), "run", n.path("one.toml"), "--", "true"}, []string{"no connection of another program", "sallyport connect"}},
		{[]string{n.path("sallyport"), "knock", n.path("ssh-nat--.toml")}, []string{"no connection of another program", "sallyport connect"}},
	} {
		out, err := n.try(n.client, row.command[0], row.command[1:]...)
		exit, _ := err.(*exec.ExitError)
		if exit == nil || exit.ExitCode() != 2 {
			t.Errorf("%q: %v, want exit code 2\n%s", row.command, err, out)
		}
		for _, want := range row.want {
			if !strings.Contains(out, want) {
				t.Errorf("%q: the output lacks %q:\n%s", row.command, want, out)
			}
		}
	}
	if after := knocks(); after != before {
		t.Errorf("the client has sent something: %s, then %s", before, after)
	}
	// Without a watch, a knock opens the client's other services.
	n.run(n.client, n.path("sallyport"), "knock", n.path("one.toml"), "--watch", "none")
	n.await("the other service", func() bool { return n.greets(n.client, "23") })
	// A client that knocks all the time has max_addresses numbers in force, the latest.
	others := n.leases()
	for range 5 { // of three attempts each
		n.run(n.insider, n.path("sallyport"), "knock", n.path("two.toml"), "--watch", "none")
	}
	n.await("the bound of a client's numbers", func() bool { return n.leases() == others+8 })
	// A NAT that rewrites sequence numbers.
	n.rules(n.client, `table ip rewriter { chain forward { type filter hook forward priority 0; tcp dport 22 tcp flags syn / syn,ack tcp sequence set 7; }; }`)
	out, err := n.try(n.insider, n.path("sallyport"), "connect", n.path("one.toml"), "--attempts", "1", "--timeout", "1s")
	if err == nil || !strings.Contains(out, "rewrites TCP sequence numbers") {
		t.Errorf("through a NAT that rewrites: %v\n%s", err, out)
	}
	n.run(n.client, "nft", "delete", "table", "ip", "rewriter")
	// A lost SYN: the client begins another connection, with the same number.
	n.rules(n.client, `table ip loss { chain forward { type filter hook forward priority 0; tcp dport 22 tcp flags syn / syn,ack limit rate 2/hour burst 2 packets drop; }; }`)
	c := n.connects(n.insider, "one")
	n.run(n.client, "nft", "delete", "table", "ip", "loss")
	// The server is killed: nothing new gets in. The next one keeps the connection.
	n.server.Process.Kill()
	n.server.Wait()
	n.server = nil
	n.await("the end of all leases", func() bool {
		return !strings.Contains(n.run(nil, "nft", "list", "table", "inet", "sallyport"), "timeout 1h")
	})
	n.neighbourIsOut("after a crash")
	n.serve()
	n.neighbourIsOut("after a restart")
	if !c.lives() {
		t.Error("the connection did not outlive the server")
	}
	start := time.Now()
	if c := n.connects(n.insider, "one"); !c.lives() {
		t.Error("the client does not get in after a restart")
	}
	t.Logf("connected %s after a restart", time.Since(start))
}
