package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sallyport/bench/netns"
)

// operation writes the secret of an operation, and returns its table.
func (n *network) operation(id, more string) string {
	n.t.Helper()
	secret := "a secret of " + id + " that is long enough 0123456789\n"
	if err := os.WriteFile(n.path("secret-"+id), []byte(secret), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return fmt.Sprintf("[[operation]]\nid = %q\nsecret_file = %q\n%s\n", id, n.path("secret-"+id), more)
}

// operationProfile creates the profile of an operation.
func (n *network) operationProfile(id string) {
	n.t.Helper()
	n.run(nil, n.path("sallyportd"), "operation", "profile", id, "-c", n.path("gate/sallyportd.toml"), "--out", n.path(id+".toml"))
}

// knockBy requests an operation from a host, and returns the output.
func (n *network) knockBy(on *netns.Host, id string, args ...string) (string, error) {
	return n.tryKnockFrom(on, id, append([]string{"-v", "--timeout", "20s"}, args...)...)
}

// TestOperations: each algorithm opens for the client's address only, over both
// families; operations with open_for, that close, and with a random port.
func TestOperations(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(`clock_tolerance = "5s"
[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "60s"
[[service]]
name = "page"
type = "web"
listen = "[::]:8400"
open_for = "60s"
[challenge]
` + n.operation("plain-web", `service = "web"
algorithm = 1`) + n.operation("web-alice-", `service = "web"
client = "com1"`) + n.operation("mutual-web", `service = "web"
algorithm = 3
open_for = "2s"`) + n.operation("close-web", `service = "web"
action = "close"
client = "com1"`) + n.operation("shut-web-", `service = "web"
action = "close"`) + n.operation("random-page", `service = "page"
port = "random"
algorithm = 3`) + n.operation("not-from-here", `service = "web"
from = ["192.0.2.0/24"]`))
	client := []byte("com1 0123456789abcdef0123456789abcdef 0\n")
	if err := os.WriteFile(n.path("gate/clients.txt"), client, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"plain-web", "web-alice-", "mutual-web", "close-web", "shut-web-", "random-page", "not-from-here"} {
		n.operationProfile(id)
	}
	n.serve()
	page := "http://" + net.JoinHostPort(asClient, "8080") + "/test1.html"
	for _, id := range []string{"plain-web", "web-alice-", "mutual-web"} {
		out, err := n.knockBy(n.client, id)
		if err != nil || !strings.Contains(out, "open: "+asClient+":8080") ||
			!strings.Contains(out, "the server sees this computer as 198.51.100.2") {
			t.Fatalf("%s: %v, %s\n%s", id, err, out, n.log())
		}
		if got := n.run(n.client, "curl", "-sS", page); !strings.Contains(got, "You knocked correctly") {
			t.Errorf("curl printed %q", got)
		}
		if n.reaches(n.stranger, asStranger+":8080") {
			t.Error("open to a stranger")
		}
	}
	// An operation of com1 closes the leases of com1; an operation without a client
	// closes those of operations without a client.
	out, err := n.knockBy(n.client, "close-web")
	if err != nil || !strings.Contains(out, "names no service to watch") {
		t.Errorf("%v, %s", err, out)
	}
	n.await("the close", func() bool { return strings.Contains(n.log(), "requested by the client") })
	n.opens(n.client, asClient+":8080") // the lease of an operation without a client remains
	if out, err := n.knockBy(n.client, "shut-web-"); err != nil {
		t.Errorf("%v, %s", err, out)
	}
	n.await("the other close", func() bool {
		return strings.Count(n.log(), "requested by the client") == 2 && !n.reaches(n.client, asClient+":8080")
	})
	// IPv6.
	out, err = n.knockBy(n.client, "web-alice-", "-6")
	if err == nil {
		t.Errorf("an IPv4 server was reached over IPv6: %s", out)
	}
	n.run(nil, n.path("sallyportd"), "operation", "profile", "web-alice-", "-c", n.path("gate/sallyportd.toml"), "--server", "2001:db8::1", "--out", n.path("six.toml"))
	if out, err := n.knockBy(n.client, "six"); err != nil || !strings.Contains(out, "open: [2001:db8::1]:8080") {
		t.Errorf("%v, %s\n%s", err, out, n.log())
	}
	// A random port accepts one connection.
	out = n.run(n.client, n.path("sallyport"), "knock", n.path("random-page.toml"), "--json")
	var result struct {
		Once    bool `json:"one_connection"`
		Service string
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil || !result.Once {
		t.Fatalf("%v, %s", err, out)
	}
	if n.reaches(n.stranger, strings.Replace(result.Service, asClient, asStranger, 1)) {
		t.Error("a stranger uses the random port")
	}
	if c, err := n.dialUntil(netns.Deadline(t), n.client, "tcp", result.Service); err != nil || !answers(c) {
		t.Errorf("no answer from %s: %v\n%s", result.Service, err, n.log())
	}
	if n.reaches(n.client, result.Service) {
		t.Error("the random port accepts a second connection")
	}
	if n.reaches(n.client, asClient+":8400") {
		t.Error("the service's own port is open")
	}
	cmd := exec.Command(n.path("sallyport"), "connect", n.path("random-page.toml"))
	cmd.Stdin = strings.NewReader("GET /test1.html HTTP/1.0\r\n\r\n")
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := n.client.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if !strings.Contains(output.String(), "You knocked correctly") {
		t.Errorf("connect printed %q\n%s", output.String(), n.log())
	}
	out, err = n.knockBy(n.client, "not-from-here", "--attempts", "1", "--timeout", "2s")
	if err == nil || !strings.Contains(out, "received no challenge") {
		t.Errorf("%v, %s", err, out)
	}
	// The revocation of a client disables its operations.
	n.run(nil, n.path("sallyportd"), "client", "revoke", "com1", "-c", n.path("gate/sallyportd.toml"))
	n.await("the reload", func() bool { return strings.Contains(n.log(), "operation \\\"web-alice-\\\" is disabled") })
	if out, err := n.knockBy(n.client, "web-alice-", "--attempts", "1", "--timeout", "2s"); err == nil {
		t.Errorf("a revoked client's operation: %s", out)
	}
	if out, err := n.knockBy(n.client, "plain-web"); err != nil {
		t.Errorf("another operation: %v, %s", err, out)
	}
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// restart ends all leases.
func (n *network) restart() {
	n.t.Helper()
	if err := n.stop(); err != nil {
		n.t.Errorf("stopped with %v", err)
	}
	n.serve()
}

// TestTranslation: two clients behind one address, with a NAT that keeps source ports,
// and with one that gives each packet another source port.
func TestTranslation(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(endWithServer + `[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "60s"
[challenge]
` + n.operation("plain-web", "service = \"web\"\nalgorithm = 1") + n.operation("web-alice-", "service = \"web\"") + n.operation("web-bob-", "service = \"web\"\nalgorithm = 3"))
	for _, id := range []string{"plain-web", "web-alice-", "web-bob-"} {
		n.operationProfile(id)
	}
	n.serve()
	alice, bob := netns.NewHost(t), netns.NewHost(t)
	for i, h := range []*netns.Host{alice, bob} {
		if err := n.client.Do(func() error {
			_, err := netns.Join(netns.End{Name: fmt.Sprintf("lan%d", i), Addresses: []string{fmt.Sprintf("10.0.%d.1/24", i)}}, h,
				netns.End{Name: "wan", Addresses: []string{fmt.Sprintf("10.0.%d.2/24", i)}})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		n.run(h, "ip", "route", "add", "default", "via", fmt.Sprintf("10.0.%d.1", i))
	}
	n.run(n.client, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	for _, kind := range []string{"masquerade", "masquerade fully-random"} {
		t.Run(kind, func(t *testing.T) {
			n.run(n.client, "sh", "-c", "nft flush ruleset; nft 'table ip nat { chain post { type nat hook postrouting priority 100; ip saddr 10.0.0.0/16 oifname client "+kind+"; }; }'")
			// Algorithm 1 does not work behind a NAT.
			if strings.Contains(n.settled(), "msg=opened") {
				n.restart()
			}
			// On a busy machine, the challenge that shows it may come too late.
			n.await("the reason that Algorithm 1 fails behind a NAT", func() bool {
				out, err := n.knockBy(alice, "plain-web", "--attempts", "1", "--timeout", "2s")
				if err == nil {
					t.Fatalf("Algorithm 1 behind a NAT: %s", out)
				}
				return strings.Contains(out, "Algorithm 1 does not work behind one")
			})
			done := make(chan string)
			for h, id := range map[*netns.Host]string{alice: "web-alice-", bob: "web-bob-"} {
				go func() {
					out, err := n.knockBy(h, id, "--attempts", "20", "--timeout", "2s")
					if err == nil && strings.Contains(out, "the server sees this computer as 198.51.100.2") {
						out = ""
					}
					done <- out
				}()
			}
			for range 2 {
				if out := <-done; out != "" {
					t.Errorf("%s\n%s", out, n.log())
				}
			}
			if n.reaches(n.stranger, asStranger+":8080") {
				t.Error("open to a stranger")
			}
		})
	}
	// The server opened for the address of the NAT.
	if got := n.counted("address=198.51.100.2"); got == 0 || strings.Contains(n.log(), "address=10.0.") {
		t.Errorf("opened for another address:\n%s", n.log())
	}
}

// TestNoiseGrantsNothing: random packets to all ports of both messages cause no grant.
func TestNoiseGrantsNothing(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newNetwork(t)
	n.configure(`stealth = true
[[service]]
name = "ssh"
type = "firewall"
listen = ":22"
[challenge]
` + n.operation("ssh-alice-", "service = \"ssh\""))
	n.operationProfile("ssh-alice-")
	n.serve()
	if err := n.stranger.Do(func() error {
		c, err := net.ListenUDP("udp4", nil)
		if err != nil {
			return err
		}
		defer c.Close()
		for i := range 40_000 {
			to := netip.AddrPortFrom(netip.MustParseAddr(asStranger), uint16(16384+rand.IntN(14336)))
			if i%20_000 == 0 {
				c.SetWriteBuffer(1 << 20)
			}
			if _, err := c.WriteToUDPAddrPort(nil, to); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	sets := func() (all string) {
		for _, set := range []string{"granted4", "granted6", "granted6net", "anyone"} {
			all += n.run(nil, "nft", "list", "set", "inet", "sallyport", "tcp_22_"+set)
		}
		return all
	}
	if got := sets(); strings.Contains(got, "elements") {
		t.Errorf("noise was granted: %s", got)
	}
	// A real exchange is granted.
	out, err := n.knockBy(n.client, "ssh-alice-")
	if err == nil || !strings.Contains(out, "is open, but no program answers there") {
		t.Errorf("%v, %s", err, out) // there is no sshd
	}
	n.await("the grant", func() bool { return strings.Contains(sets(), "198.51.100.2") })
	if got := sets(); strings.Contains(got, "203.0.113.2") {
		t.Errorf("the stranger has a grant: %s", got)
	}
}

// TestBoundPorts: without CAP_NET_RAW, requests and responses go to bound ports, which
// are below the knock ports.
func TestBoundPorts(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(`[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
[challenge]
ports = "300-999"
capture = "sockets"
[challenge.request]
scheme = "ranges"
data_bits = 2
[challenge.response]
scheme = "ranges"
base = 640
data_bits = 2
` + n.operation("alice", "service = \"web\""))
	n.operationProfile("alice")
	n.serve()
	if out, err := n.knockBy(n.client, "alice"); err != nil || !strings.Contains(out, "open: "+asClient+":8080") {
		t.Errorf("%v, %s\n%s", err, out, n.log())
	}
	if got := n.scan(nil, []int{299, 300, 639, 640, 999}); strings.Contains(got, " open ") {
		t.Errorf("a scanner received an answer: %s", got)
	}
}

// TestPublicAddress: the server is behind a NAT, and public_address has the address by
// which its clients reach it.
func TestPublicAddress(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	const public = "192.0.2.80"
	config := `[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
[challenge]
public_address = ["` + public + `"]
` + n.operation("web-alice-", "service = \"web\"") + n.operation("web-bob-", "service = \"web\"\nalgorithm = 3")
	n.configure(endWithServer + config)
	for _, id := range []string{"web-alice-", "web-bob-"} {
		n.run(nil, n.path("sallyportd"), "operation", "profile", id, "-c", n.path("gate/sallyportd.toml"), "--server", public, "--out", n.path(id+".toml"))
	}
	n.run(n.client, "ip", "route", "add", public, "via", asClient)
	n.run(n.client, "nft", "table ip nat { chain out { type nat hook output priority -100; ip daddr "+public+" dnat to "+asClient+"; }; }")
	n.serve()
	for _, id := range []string{"web-alice-", "web-bob-"} {
		if out, err := n.knockBy(n.client, id); err != nil || !strings.Contains(out, "open: "+public+":8080") {
			t.Errorf("%s: %v, %s\n%s", id, err, out, n.log())
		}
		n.restart()
	}
	// Without public_address, the server uses its own address, which the clients do
	// not use.
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	without := strings.Replace(config, "public_address", "# public_address", 1)
	text, err := os.ReadFile(n.path("gate/sallyportd.toml"))
	if err == nil {
		err = os.WriteFile(n.path("gate/sallyportd.toml"), []byte(strings.Replace(string(text), config, without, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	n.serve()
	for _, id := range []string{"web-alice-", "web-bob-"} {
		if out, err := n.knockBy(n.client, id, "--attempts", "1", "--timeout", "2s"); err == nil {
			t.Errorf("%s: %s", id, out)
		}
	}
}
