package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const siteName, zoneName = "gate.example", "k.example.org"

// TestCarriers: the network lets only the web and names out. Knocks, exchanges, and
// connections that prove themselves get in by HTTPS and by DNS, the client begins with the
// way that has worked, and nothing is open to others.
func TestCarriers(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.certificate()
	n.configure(fmt.Sprintf(`[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "60s"
[[service]]
name = "echo"
type = "proxy"
listen = "[::]:8081"
upstream = %q
bind = "connection"
open_for = "60s"
`, echoEOF(t)), "alice=web", "bob=echo")
	n.appendTo("gate/sallyportd.toml", fmt.Sprintf(`[challenge]
ports = "9000-30000"
public_address = [%q, "2001:db8::1"]
[[challenge.http]]
listen = ":443"
host = %q
tls_cert = %q
tls_key = %q
[challenge.dns]
listen = ":53"
zone = %q
servers = ["ns.example.org"]
`, asClient, siteName, n.path("cert.pem"), n.path("key.pem"), zoneName)+
		n.operation("web-alice", "service = \"web\"")+
		n.operation("echo-bob-", fmt.Sprintf("service = \"echo\"\nclient = %q", n.identifier("bob")))+
		n.operation("random-web", "service = \"web\"\nport = \"random\""))
	without := regexp.MustCompile(`(?m)^(https|dns) =.*\n`)
	for id, name := range map[string]string{"web-alice": "alice", "echo-bob-": "bob", "random-web": ""} {
		n.run(nil, n.path("sallyportd"), "operation", "profile", id, "-c", n.path("gate/sallyportd.toml"), "--out", n.path(id+".toml"))
		text, err := os.ReadFile(n.path(id + ".toml"))
		if err != nil {
			t.Fatal(err)
		}
		head, table, _ := strings.Cut(string(text), "[challenge]")
		// Here the servers of the zone have no names, and the profile of an operation for an
		// address has no zone.
		table = fmt.Sprintf("[challenge]\nhttps = \"https://%s\"\ndns = %q\ndns_servers = [%q]\n", siteName, zoneName, asClient) + without.ReplaceAllString(table, "")
		if name != "" {
			of, err := os.ReadFile(n.path(name + ".toml"))
			if err != nil {
				t.Fatal(err)
			}
			head, id = string(of)+"\n", name
		}
		text = []byte(n.named(head) + table)
		if err := os.WriteFile(n.path(id+".toml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.serve()
	n.run(nil, "nft", "table inet only { chain in { type filter hook input priority 0; iifname toclient udp dport != 53 drop; }; }")
	trusted := n.path("cert.pem")
	knock := func(profile string, args ...string) (string, error) {
		return n.try(n.client, "env", append([]string{"SSL_CERT_FILE=" + trusted, n.path("sallyport"), "knock", n.path(profile + ".toml")}, args...)...)
	}
	out, err := knock("alice", "-v", "--attempts", "1", "--timeout", "1s", "--json")
	if err != nil || !strings.Contains(out, `"opened":true`) || !strings.Contains(out, `"carrier":"https"`) {
		t.Fatalf("a network that drops knocks: %v\n%s\n%s", err, out, n.log())
	}
	if !strings.Contains(out, "UDP ports ") || !strings.Contains(out, "the server sees this computer as 198.51.100.2") {
		t.Errorf("the knocks come first, and open for an address:\n%s", out)
	}
	if n.reaches(n.stranger, asStranger+":8080") {
		t.Error("open to a stranger")
	}
	n.closeAll()
	out, err = knock("alice", "-v")
	if err != nil || strings.Contains(out, "UDP ports") || !strings.Contains(out, "HTTPS has worked in this network before") {
		t.Errorf("the second time: %v\n%s", err, out)
	}
	info, err := os.Stat(n.path("client-state/sallyport/carriers"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of carriers: %v, %v", info, err)
	}

	// Over DNS, for a connection that proves itself, and for a random port.
	n.closeAll()
	connect := exec.CommandContext(t.Context(), n.path("sallyport"), "connect", n.path("bob.toml"), "--carrier", "dns")
	connect.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
	connect.Stdin = strings.NewReader("a line\n")
	var got, errs strings.Builder
	connect.Stdout, connect.Stderr = &got, &errs
	if err := n.client.Do(connect.Start); err != nil {
		t.Fatal(err)
	}
	if err := connect.Wait(); err != nil || got.String() != "a line\n" {
		t.Errorf("connect by DNS: %v, %q, %s\n%s", err, got.String(), errs.String(), n.log())
	}
	out, err = knock("random-web", "--carrier", "dns", "--json")
	if err != nil || !strings.Contains(out, `"one_connection":true`) || !strings.Contains(out, `"carrier":"dns"`) {
		t.Errorf("a random port by DNS: %v\n%s\n%s", err, out, n.log())
	}
	out, err = knock("alice", "--carrier", "dns")
	if err == nil || !strings.Contains(out, "a resolver hides this computer's address") {
		t.Errorf("for an address by DNS: %v\n%s", err, out)
	}

	// A host with another certificate gets nothing.
	trusted = os.DevNull
	out, err = knock("alice", "--carrier", "https", "--attempts", "1", "--json")
	if err == nil || !strings.Contains(out, `"reason":"certificate"`) {
		t.Errorf("a certificate that is not valid: %v\n%s", err, out)
	}
}

// named gives the text of a profile the site's name as the server, with its addresses.
func (n *network) named(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "server =") && !strings.HasPrefix(line, "addresses =") {
			lines = append(lines, line)
		}
	}
	return fmt.Sprintf("server = %q\naddresses = [%q, \"2001:db8::1\"]\n", siteName, asClient) + strings.Join(lines, "")
}

// closeAll closes all leases.
func (n *network) closeAll() {
	n.t.Helper()
	n.run(nil, n.path("sallyportd"), "lease", "close", "-c", n.path("gate/sallyportd.toml"), "--all")
}
