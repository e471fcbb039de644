package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/sockfilter"
)

// TestHiddenByTheFirewall: ssh to a real sshd, a UDP service, HTTP and a proxy, all
// behind the firewall, with stealth. To a stranger, nmap must report the same before,
// during and after a client's lease.
func TestHiddenByTheFirewall(t *testing.T) {
	long(t)
	if !enterPrivileged(t) {
		return
	}
	n := newNetwork(t)
	options := n.sshd(22)
	n.echo("[::]:5400")
	n.configure(`stealth = true
[[service]]
name = "ssh"
type = "firewall"
listen = ":22"
open_for = "4s"
[[service]]
name = "echo"
type = "firewall"
protocol = "udp"
listen = ":5400"
policy = "reject"
open_for = "4s"
[[service]]
name = "pour"
type = "firewall"
listen = ":5400"
policy = "reject"
open_for = "4s"
[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "4s"
[[service]]
name = "sshproxy"
type = "proxy"
listen = "[::]:8022"
upstream = "127.0.0.1:22"
look = "filtered"
open_for = "4s"
[[service]]
name = "echoproxy"
type = "proxy"
protocol = "udp"
listen = "[::]:8053"
upstream = "127.0.0.1:5400"
open_for = "4s"
`, "all", "some=web,echo")
	tcp := []int{21, 22, 23, 5399, 5400, 5401, 8022, 8080, 8081}
	udp := append([]int{5399, 5400, 5401, 8053, 8054}, n.knockPorts("all")...)
	scan := func(want string) string { return n.scanAs(want, tcp, udp) }
	// The same host with the same policy, without Sallyport.
	plain := n.path("plain.nft")
	if err := os.WriteFile(plain, []byte(`table inet plain {
	chain input {
		type filter hook input priority 0; policy accept;
		iif lo accept
		tcp dport { 22, 8022 } drop
		tcp dport { 5400, 8080 } reject with tcp reset
		udp dport 5400 reject with icmpx type port-unreachable
		udp dport 1025-65535 drop
	}
}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	n.run(nil, "nft", "-f", plain)
	baseline := n.scan(tcp, udp)
	n.run(nil, "nft", "delete", "table", "inet", "plain")
	n.serve()
	before := scan(baseline)
	if before != baseline || strings.Contains(before, " open ") {
		t.Errorf("a stranger detects the server:\n%s\nwithout it:\n%s", before, baseline)
	}
	var during string
	n.within("all", func() { during = scan(before) }, func() bool { return n.reaches(n.client, asClient+":22") })
	n.prints("all", "through the firewall", slices.Concat([]string{"ssh"}, options, []string{asClient, "echo", "through the firewall"})...)
	n.prints("all", "through the proxy", slices.Concat([]string{"ssh", "-p", "8022"}, options, []string{asClient, "echo", "through the proxy"})...)
	n.prints("all", "You knocked correctly", "curl", "-sS", "http://"+asClient+":8080/test1.html")
	for _, address := range []string{asClient + ":5400", asClient + ":8053"} {
		open := false
		n.within("all", func() { open = n.echoes(n.client, address) }, func() bool { return open })
	}
	n.closes("ssh", "echo", "pour", "web", "sshproxy", "echoproxy")
	// The kernel removes an element by its own clock. On a busy machine, its timeout
	// begins later than the server's lease.
	n.await("closed ports", func() bool {
		return !n.reaches(n.client, asClient+":22") && !n.reaches(n.client, asClient+":8022") && !n.echoes(n.client, asClient+":5400")
	})
	after := scan(before)
	if before != during || before != after {
		t.Errorf("a stranger sees a difference:\nbefore:\n%s\nduring:\n%s\nafter:\n%s", before, during, after)
	}
	// A client with fewer rights.
	open := false
	n.within("some", func() {
		open = n.reaches(n.client, asClient+":8080") && n.echoes(n.client, asClient+":5400")
	}, func() bool { return open })
	if n.reaches(n.client, asClient+":22") || n.reaches(n.client, asClient+":8022") {
		t.Error("a service is open that the client may not open")
	}
}

// TestPublishedPort: packets that DNAT forwards to a container do not pass the input
// chain; hook = "forward" hides the port.
func TestPublishedPort(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	container := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "bridge", Addresses: []string{"172.18.0.1/24"}}, container, netns.End{Name: "eth0", Addresses: []string{"172.18.0.2/24"}})
	if err := container.Do(func() error {
		l, err := net.Listen("tcp", ":80")
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, "from the container")
				c.Close()
			}
		}()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	n.run(container, "ip", "route", "add", "default", "via", "172.18.0.1")
	n.run(n.client, "ip", "route", "add", "default", "via", asClient)
	n.run(n.stranger, "ip", "route", "add", "default", "via", asStranger)
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	rules := n.path("docker.nft")
	if err := os.WriteFile(rules, []byte(`table ip nat {
	chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local tcp dport 8080 dnat to 172.18.0.2:80; }
}
table inet filter {
	chain input { type filter hook input priority 0; tcp dport 8080 drop; }
}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	n.run(nil, "nft", "-f", rules)
	n.opens(n.stranger, asStranger+":8080") // the input chain does not apply
	n.configure("[[service]]\nname = \"site\"\ntype = \"firewall\"\nlisten = \":8080\"\nhook = \"forward\"\nopen_for = \"2s\"\n", "all")
	n.serve()
	if n.reaches(n.stranger, asStranger+":8080") {
		t.Error("a stranger reaches it")
	}
	open := false
	n.within("all", func() {
		if n.reaches(n.stranger, asStranger+":8080") {
			t.Error("a stranger reaches it during another's lease")
		}
		open = n.reaches(n.client, asClient+":8080")
	}, func() bool { return open })
	n.await("the end of the lease", func() bool { return !n.reaches(n.client, asClient+":8080") })
}

// TestWithoutPrivileges: HTTPS through the proxy and UDP, from a server without
// privileges; and what a stranger can detect, according to SECURITY.md.
func TestWithoutPrivileges(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	upstream := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "over TLS") }))
	defer upstream.Close()
	n.echo("127.0.0.1:5400")
	n.configure(fmt.Sprintf(`[[service]]
name = "site"
type = "proxy"
listen = "[::]:8443"
upstream = %q
open_for = "4s"
[[service]]
name = "echo"
type = "proxy"
protocol = "udp"
listen = "[::]:8053"
upstream = "127.0.0.1:5400"
look = "filtered"
open_for = "4s"
`, upstream.Listener.Addr()), "all")
	n.serve("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
	scan := func(want string) string { return n.scanAs(want, []int{8442, 8443, 8444}, []int{8053}) }
	before := n.scan([]int{8442, 8443, 8444}, []int{8053})
	if !strings.Contains(before, "8443/tcp closed") || !strings.Contains(before, "8053/udp open|filtered") {
		t.Errorf("before:\n%s", before)
	}
	var during string
	n.within("all", func() {
		// A stranger never receives a byte.
		if c, err := n.dial(n.stranger, "tcp", asStranger+":8443"); err == nil {
			if m, err := c.Read(make([]byte, 1)); m > 0 || err == nil {
				t.Errorf("a stranger read %d bytes, %v", m, err)
			}
			c.Close()
		}
		during = n.scan([]int{8442, 8443, 8444}, []int{8053})
	}, func() bool { return n.echoes(n.client, asClient+":8053") })
	n.knock("all")
	if got := n.run(n.client, "curl", "-sS", "-k", "https://"+asClient+":8443/"); got != "over TLS" {
		t.Errorf("curl printed %q", got)
	}
	look := "8443/tcp filtered"
	if !sockfilter.Supported() {
		look = "8443/tcp open"
	}
	if !strings.Contains(during, look) || !strings.Contains(during, "8053/udp open|filtered") {
		t.Errorf("during, want %s:\n%s", look, during)
	}
	n.closes("site", "echo")
	if after := scan(before); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestFilteredLook: the port looks the same at all times, by the socket's filter, or
// by the firewall if the kernel requires CAP_NET_ADMIN for such filters.
func TestFilteredLook(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure("[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \"[::]:8080\"\nlook = \"filtered\"\nopen_for = \"4s\"\n", "all")
	n.serve()
	scan := func(want string) string { return n.scanAs(want, []int{8079, 8080, 8081}, nil) }
	before := n.scan([]int{8079, 8080, 8081}, nil)
	if !strings.Contains(before, "8080/tcp filtered") {
		t.Errorf("before:\n%s", before)
	}
	var during string
	n.within("all", func() { during = scan(before) }, func() bool { return n.reaches(n.client, asClient+":8080") })
	n.prints("all", "You knocked correctly", "curl", "-sS", "http://"+asClient+":8080/test1.html")
	n.closes("web")
	if after := scan(before); before != during || before != after {
		t.Errorf("before:\n%s\nduring:\n%s\nafter:\n%s", before, during, after)
	}
	if sockfilter.Supported() {
		return
	}
	n.stop()
	out, err := n.try(nil, "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin",
		n.path("sallyportd"), "serve", "-c", n.path("gate/sallyportd.toml"))
	if err == nil || !strings.Contains(out, "look = \"filtered\"") {
		t.Errorf("served without the privilege that this look requires here: %v\n%s", err, out)
	}
}

// TestOpenToAnyone: open_to = "anyone", as in the paper, behind the firewall, over both
// families.
func TestOpenToAnyone(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure("[[service]]\nname = \"pour\"\ntype = \"firewall\"\nlisten = \":5400\"\nopen_to = \"anyone\"\nopen_for = \"3s\"\n", "all")
	n.serve()
	strangers := []string{asStranger + ":5400", "[2001:db8:1::1]:5400"}
	for _, address := range strangers {
		if n.reaches(n.stranger, address) {
			t.Errorf("%s is open before", address)
		}
	}
	open := false
	n.within("all", func() {
		open = n.reaches(n.stranger, strangers[0]) && n.reaches(n.stranger, strangers[1])
	}, func() bool { return open })
	n.await("an end without a later grant", func() bool {
		n.closes("pour")
		grants := n.counted("msg=opened service=pour ")
		reached := slices.DeleteFunc(slices.Clone(strangers), func(address string) bool { return !n.reaches(n.stranger, address) })
		// On a busy machine, a knock may open only after the end of the lease before.
		if n.counted("msg=opened service=pour ") > grants {
			return false
		}
		for _, address := range reached {
			t.Errorf("%s is open after", address)
		}
		return true
	})
}
