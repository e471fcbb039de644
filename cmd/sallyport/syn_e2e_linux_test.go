package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/bench/netns"
)

// withoutUDP is a network whose client cannot send UDP, and a server of exchanges over
// TCP. Encodings are the tables of requests and responses.
func withoutUDP(t *testing.T, encodings string) *network {
	t.Helper()
	n := newNetwork(t)
	n.run(n.client, "nft", "table inet egress { chain out { type filter hook output priority 0; meta l4proto udp counter drop; }; chain via { type filter hook forward priority 0; meta l4proto udp drop; }; }")
	n.configure("")
	n.exchangeOverTCP(encodings)
	return n
}

// exchangeOverTCP writes the configuration, and the profiles ID.toml, for IPv4, and
// ID-six.toml.
func (n *network) exchangeOverTCP(encodings string) {
	n.t.Helper()
	text := fmt.Sprintf("version = 1\nports = 3\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\nserver = %q\n", asClient) + `
[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "60s"
[challenge]
transport = "tcp"
` + encodings + n.operation("plain-web", "service = \"web\"\nalgorithm = 1") + n.operation("web-alice-", "service = \"web\"") + n.operation("web-bob-", "service = \"web\"\nalgorithm = 3")
	if err := os.WriteFile(n.path("gate/sallyportd.toml"), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	for _, id := range []string{"plain-web", "web-alice-", "web-bob-"} {
		os.Remove(n.path(id + ".toml"))
		os.Remove(n.path(id + "-six.toml"))
		n.operationProfile(id)
		n.run(nil, n.path("sallyportd"), "operation", "profile", id, "-c", n.path("gate/sallyportd.toml"), "--server", "2001:db8::1", "--out", n.path(id+"-six.toml"))
	}
}

// TestOverTCP: a client without privileges, from which no UDP gets out, gets in by each
// algorithm and encoding, over both families.
func TestOverTCP(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := withoutUDP(t, "")
	executed := 0
	for name, encodings := range map[string]string{
		"ranges":      "",
		"restarts":    "[challenge.request]\nrestart = 20\n[challenge.response]\nrestart = 10\n",
		"sequence":    "[challenge.request]\nscheme = \"sequence\"\ndata_bits = 6\nsequence_bits = 6\n[challenge.response]\nscheme = \"sequence\"\ndata_bits = 6\nsequence_bits = 6\n",
		"differences": "[challenge.request]\nscheme = \"differences\"\ndata_bits = 5\n[challenge.response]\nscheme = \"differences\"\ndata_bits = 5\n",
		"delays":      "[challenge.request]\nscheme = \"delays\"\ndata_bits = 10\ndelay = \"2ms\"\n[challenge.response]\nscheme = \"delays\"\ndata_bits = 10\ndelay = \"2ms\"\n",
	} {
		n.exchangeOverTCP(encodings)
		n.serve()
		for _, id := range []string{"plain-web", "web-alice-", "web-bob-"} {
			for suffix, at := range map[string]string{"": asClient + ":8080", "-six": "[2001:db8::1]:8080"} {
				// The client runs as another user than root, and owns its profile.
				n.run(nil, "chown", "65534", n.path(id+suffix+".toml"))
				for dir := n.dir; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
					os.Chmod(dir, 0o755)
				}
				out, err := n.try(n.client, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
					n.path("sallyport"), "knock", n.path(id+suffix+".toml"), "-v", "--attempts", "1", "--timeout", "20s")
				if err != nil || !strings.Contains(out, "open: "+at) || !strings.Contains(out, "TCP ports") {
					t.Errorf("%s, %s%s: %v, %s\n%s", name, id, suffix, err, out, n.log())
				}
				// Each one, though the service is open since the first: no exchange answers the
				// challenge of another one.
				executed++
				n.await("the operation", func() bool { return strings.Count(n.log(), "operation executed") == executed })
			}
		}
		if n.reaches(n.stranger, asStranger+":8080") {
			t.Error("open to a stranger")
		}
		if err := n.stop(); err != nil {
			t.Errorf("stopped with %v", err)
		}
	}
	if got := n.run(n.client, "nft", "list", "chain", "inet", "egress", "out"); !strings.Contains(got, "packets 0 ") {
		t.Errorf("the client sent UDP: %s", got)
	}
}

// TestOverTCPBehindTranslation: a NAT gives each SYN another source port, and two
// clients behind it request the same operation.
func TestOverTCPBehindTranslation(t *testing.T) {
	long(t)
	if !enterPrivileged(t) {
		return
	}
	n := withoutUDP(t, "")
	n.serve()
	n.run(n.client, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	for _, kind := range []string{"masquerade", "masquerade fully-random"} {
		n.run(n.client, "sh", "-c", "nft delete table ip nat 2>/dev/null; nft 'table ip nat { chain post { type nat hook postrouting priority 100; ip saddr 10.0.0.0/16 oifname client "+kind+"; }; }'")
		done := make(chan string)
		for i := range 2 {
			h := netns.NewHost(t)
			lan, net := fmt.Sprintf("lan%d%d", len(kind), i), fmt.Sprintf("10.0.%d", len(kind)+i)
			if err := n.client.Do(func() error {
				_, err := netns.Join(netns.End{Name: lan, Addresses: []string{net + ".1/24"}}, h, netns.End{Name: "wan", Addresses: []string{net + ".2/24"}})
				return err
			}); err != nil {
				t.Fatal(err)
			}
			n.run(h, "ip", "route", "add", "default", "via", net+".1")
			go func() {
				out, err := n.knockBy(h, []string{"web-alice-", "web-bob-"}[i], "--attempts", "20", "--timeout", "3s")
				if err == nil && strings.Contains(out, "the server sees this computer as 198.51.100.2") {
					out = ""
				}
				done <- out
			}()
		}
		for range 2 {
			if out := <-done; out != "" {
				t.Errorf("%s: %s\n%s", kind, out, n.log())
			}
		}
	}
}

// TestOverTCPIsSilent: to a stranger who scans, the ports of exchanges and the port of
// challenges look as they do without a server, also while a challenge waits for a
// client. The same on a host that drops all packets to them.
func TestOverTCPIsSilent(t *testing.T) {
	long(t)
	if !enterPrivileged(t) {
		return
	}
	n := withoutUDP(t, "")
	ports := []int{16383, 16384, 16385, 19999, 25600, 30719, 30720, 30721}
	for host, rules := range map[string]string{
		"rejects": "",
		"drops":   "table inet dropping { chain in { type filter hook input priority 0; tcp dport 16384-30719 counter drop; }; }",
	} {
		if rules != "" {
			n.run(nil, "nft", rules)
		}
		want := n.scan(ports, nil)
		n.serve()
		if got := n.scanAs(want, ports, nil); got != want {
			t.Errorf("a host that %s: a scanner saw\n%s\nand without a server\n%s", host, got, want)
		}
		// The client cannot fetch the challenge, which waits for it.
		n.run(n.client, "nft", "table inet fetch { chain out { type filter hook output priority 0; tcp dport 30720 drop; }; }")
		ended := make(chan string)
		go func() {
			out, _ := n.knockBy(n.client, "web-alice-", "--timeout", "3s", "--attempts", "2")
			ended <- out
		}()
		granted := func() bool {
			return strings.Contains(n.run(nil, "nft", "list", "set", "inet", "sallyport", "tcp_30720_granted4"), "198.51.100.2")
		}
		n.await("a challenge that waits", granted)
		open := n.scan([]int{30720}, nil)
		if closed := n.scan([]int{30721}, nil); strings.ReplaceAll(closed, "30721", "30720") != open {
			t.Errorf("a host that %s: a scanner saw\n%s\nwhile a challenge waited, and at the next port\n%s", host, open, closed)
		}
		out := <-ended
		if !strings.Contains(out, "received no challenge") || !strings.Contains(out, "or to port 30720") {
			t.Errorf("without the port of challenges: %s", out)
		}
		n.await("the end of the wait", func() bool { return !granted() })
		n.run(n.client, "nft", "delete table inet fetch")
		if out, err := n.knockBy(n.client, "web-alice-"); err != nil {
			t.Errorf("a host that %s: %v, %s\n%s", host, err, out, n.log())
		}
		if err := n.stop(); err != nil {
			t.Errorf("stopped with %v", err)
		}
		n.run(nil, "sh", "-c", "nft delete table inet dropping 2>/dev/null; nft delete table inet sallyport")
	}
}
