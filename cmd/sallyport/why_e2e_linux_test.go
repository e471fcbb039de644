package main

import (
	"io"
	"net"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
)

const whyServices = `[[service]]
name = "nobody"
type = "firewall"
listen = ":8023"
[[service]]
name = "down"
type = "proxy"
listen = "[::]:8022"
look = "filtered"
upstream = "127.0.0.1:2222"
[[service]]
name = "nameless"
type = "proxy"
listen = "[::]:8024"
look = "filtered"
upstream = "nothing.invalid:2222"
[[service]]
name = "two"
type = "web"
listen = "[::]:8080"
look = "filtered"
max_connections = 2
open_for = "3s"
[[service]]
name = "closed"
type = "web"
listen = "[::]:8081"
`

// TestWhyLetIn: the server lets the client in, and the service does not answer.
func TestWhyLetIn(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(whyServices, "nobody=nobody", "down=down", "nameless=nameless", "two=two")
	n.serve()
	expect(t, n.why(n.client, "knock", n.path("nobody.toml")), client.ReasonNotListening,
		"refuses connections; it did not answer before the knock", "no program listens on port 8023")
	for _, name := range []string{"down", "nameless"} {
		for _, args := range [][]string{{"knock", n.path(name + ".toml"), "--watch", "connection"}, {"connect", n.path(name + ".toml")}} {
			o := n.whyOnce(n.client, client.ReasonUpstream, args...)
			expect(t, o, client.ReasonUpstream, "closes them in order without a byte", "the program behind")
		}
	}
	t.Run("too many", func(t *testing.T) {
		n.knock("two")
		for range 2 {
			c, err := n.dial(n.client, "tcp", asClient+":8080")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, "GET /test1.html HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil { // the server has accepted it
				t.Fatal(err)
			}
		}
		o := n.whyOnce(n.client, client.ReasonTooMany, "connect", n.path("two.toml"), "--no-wait", "--attempts", "2", "--timeout", "2s")
		expect(t, o, client.ReasonTooMany, "this computer has 2 connections to "+asClient+":8080", "too many connections")
	})
}

// TestWhyUpstreamIsSilent: a proxy accepts the connection, and its upstream drops packets.
// The server closes the connection when it has given up.
func TestWhyUpstreamIsSilent(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(whyServices, "down=down")
	n.serve()
	n.nft(nil, "table inet f { chain in { type filter hook input priority 0; iif lo tcp dport 2222 drop; }; }")
	expect(t, n.why(n.client, "connect", n.path("down.toml")), client.ReasonUpstream, "closes them in order without a byte", "the program behind")
}

// TestWhyKnocksDoNotArrive: ICMP errors come for the knocks.
func TestWhyKnocksDoNotArrive(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(whyServices, "closed=closed")
	n.rewrite("closed", "unwatched", "service = ':8081'", "", "handshake = 'granted'", "")
	for _, profile := range []string{"closed", "unwatched"} {
		for _, row := range []struct {
			rules           string
			reason          client.Reason
			certain, likely string
		}{
			{"", client.ReasonKnocksRefused, "ICMP errors (port unreachable) came for 3 of 3 knocks", "the server does not run"},
			{"table inet f { chain in { type filter hook input priority 0; udp dport 1025-65535 reject with icmpx admin-prohibited; }; }",
				client.ReasonKnocksProhibited, "ICMP errors (prohibited) came for 3 of 3 knocks", "a firewall"},
			{"table inet f { chain in { type filter hook input priority 0; udp dport 1025-65535 reject with icmp host-unreachable; }; }",
				client.ReasonUnreachable, "ICMP errors (unreachable) came for 3 of 3 knocks", "the host is down"},
		} {
			if row.rules != "" {
				n.nft(nil, row.rules)
			}
			o := n.whyOnce(n.client, row.reason, "knock", n.path(profile+".toml"), "--no-wait")
			expect(t, o, row.reason, row.certain, row.likely)
			if row.rules != "" {
				n.run(nil, "nft", "delete", "table", "inet", "f")
			}
		}
	}
}

// TestWhyAddressChanged: this computer's knocks and connections leave from different
// addresses, as if its address had changed in between.
func TestWhyAddressChanged(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(whyServices, "two=two", "closed=closed", "nobody=nobody")
	n.serve()
	for _, args := range [][]string{
		{"ip", "rule", "add", "ipproto", "tcp", "table", "77", "priority", "10"},
		{"ip", "route", "add", "198.51.100.0/24", "dev", "client", "src", "198.51.100.3", "table", "77"},
	} {
		n.run(n.client, args[0], args[1:]...)
	}
	for _, args := range [][]string{{"knock", "two"}, {"knock", "closed"}, {"connect", "nobody"}} {
		o := n.why(n.client, args[0], n.path(args[1]+".toml"), "--no-wait", "--timeout", "500ms", "--attempts", "2")
		expect(t, o, client.ReasonAddressChanged,
			"the knocks left from 198.51.100.2, and the connections from 198.51.100.3", "the server has let in 198.51.100.2, and not 198.51.100.3")
	}
}

// TestWhyCarrierNAT: a carrier's NAT sends the knocks of an attempt from several
// addresses. The server counts that, and the client names it.
func TestWhyCarrierNAT(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	behind := netns.NewHost(t)
	err := n.client.Do(func() error {
		netns.Connect(t, netns.End{Name: "inside", Addresses: []string{"100.64.0.1/24"}}, behind,
			netns.End{Name: "phone", Addresses: []string{"100.64.0.2/24"}})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n.run(behind, "ip", "route", "add", "default", "via", "100.64.0.1")
	n.run(n.client, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	n.nft(n.client, `table ip nat { chain post { type nat hook postrouting priority 100;
		oifname "client" udp dport 1025-65535 snat to numgen inc mod 2 map { 0 : 198.51.100.2, 1 : 198.51.100.3 }
		oifname "client" snat to 198.51.100.2
	}; }`)
	n.configure(whyServices, "two=two", "closed=closed")
	n.serve()
	for _, profile := range []string{"two", "closed"} {
		o := n.why(behind, "knock", n.path(profile+".toml"), "--no-wait", "--timeout", "500ms")
		expect(t, o, client.ReasonCarrierNAT, "this computer's address, 100.64.0.2, is one that a carrier's NAT gives", "from several addresses")
		if text := strings.Join(o.Likely, "\n"); !strings.Contains(text, "grant_prefix4") {
			t.Errorf("likely %q", o.Likely)
		}
	}
	n.await("end", func() bool { return n.stop() == nil })
	if !strings.Contains(n.log(), "other_source=") {
		t.Errorf("the server has not counted it: %s", n.log())
	}
}

// TestWhyDropped: a firewall drops the knocks. The client sees a service that has not
// changed, and blames the profile only if nothing is known.
func TestWhyDropped(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(whyServices, "two=two", "closed=closed")
	n.serve()
	n.nft(nil, "table inet f { chain in { type filter hook input priority 0; udp dport 1025-65535 drop; }; }")
	unchanged := map[string]string{"two": "does not answer, as before the knock", "closed": "refuses connections, as before the knock"}
	for profile, reason := range map[string]client.Reason{"two": client.ReasonNoAnswer, "closed": client.ReasonRefused} {
		o := n.why(n.client, "knock", n.path(profile+".toml"), "--no-wait", "--timeout", "500ms")
		if o.Reason != string(reason) || !strings.Contains(o.Certain[0], unchanged[profile]) {
			t.Errorf("reason %q, certain %q", o.Reason, o.Certain)
		}
		blamed := strings.Contains(strings.Join(o.Likely, "\n"), secrets)
		if blamed != (client.ClockState() != client.ClockUnsynchronised) {
			t.Errorf("likely %q", o.Likely)
		}
		if len(o.Likely) == 0 || strings.Contains(o.Likely[0], secrets) {
			t.Errorf("likely %q", o.Likely)
		}
	}
}

// TestWhyNoncesBehind: another device has used the same profile, and the server has
// accepted its nonces.
func TestWhyNoncesBehind(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(whyServices, "two=two")
	n.serve()
	n.rewrite("two", "other", asClient, asStranger)
	n.knock("two")
	n.run(nil, "cp", "-r", n.path("client-state"), n.path("other-state"))
	n.run(n.stranger, "env", "XDG_STATE_HOME="+n.path("other-state"), n.path("sallyport"), "knock", n.path("other.toml"))
	n.closes("two")
	o := n.why(n.client, "knock", n.path("two.toml"), "--no-wait", "--attempts", "1", "--timeout", "500ms")
	if o.Opened || !strings.Contains(strings.Join(o.Likely, "\n"), "another device uses this profile") {
		t.Errorf("%+v", o)
	}
	o = n.why(n.client, "knock", n.path("two.toml"), "--no-wait", "--attempts", "1")
	if !o.Opened || o.Reason != string(client.ReasonNoncesBehind) {
		t.Errorf("%+v", o)
	}
}

// TestWhyOpenBefore: an earlier knock has opened the service.
func TestWhyOpenBefore(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure("[[service]]\nname = \"two\"\ntype = \"web\"\nlisten = \"[::]:8080\"\n", "two=two")
	n.serve()
	n.knock("two")
	o := n.why(n.client, "knock", n.path("two.toml"))
	if !o.Opened || !o.OpenBefore || o.Reason != string(client.ReasonOpenBefore) {
		t.Errorf("%+v", o)
	}
	n.stop()
	l, err := net.Listen("tcp", asClient+":8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// Without the server, anyone may connect, and the knocks do not arrive.
	o = n.why(n.client, "knock", n.path("two.toml"))
	if !o.Opened || !o.OpenBefore || !o.Rejected || o.Reason != string(client.ReasonKnocksRefused) {
		t.Errorf("%+v", o)
	}
}
