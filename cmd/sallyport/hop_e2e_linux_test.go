package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestOperationsThatHop: with hop, a client gets in by each algorithm, transport and
// family, also after a restart; one whose profile lacks the hops sends requests that
// get no challenge, although it has the operation's ID and secret.
func TestOperationsThatHop(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newNetwork(t)
	without := regexp.MustCompile(`(?m)^hop.*\n`)
	n.configure(`[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "60s"
[challenge]
ports = "9000-30000"
hop = 1000
transport = "udp"
` + n.operation("plain-web", "service = \"web\"\nalgorithm = 1") + n.operation("web-alice-", "service = \"web\"") +
		n.operation("mutual-web", "service = \"web\"\nalgorithm = 3"))
	configured, err := os.ReadFile(n.path("gate/sallyportd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, transport := range []string{"udp", "tcp"} {
		text := strings.Replace(string(configured), `transport = "udp"`, fmt.Sprintf("transport = %q", transport), 1)
		if err := os.WriteFile(n.path("gate/sallyportd.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n.serve()
		for _, id := range []string{"plain-web", "web-alice-", "mutual-web"} {
			for server, at := range map[string]string{asClient: asClient + ":8080", "2001:db8::1": "[2001:db8::1]:8080"} {
				os.Remove(n.path(id + ".toml"))
				n.run(nil, n.path("sallyportd"), "operation", "profile", id, "-c", n.path("gate/sallyportd.toml"), "--server", server, "--out", n.path(id+".toml"))
				out, err := n.knockBy(n.client, id, "--attempts", "2")
				if err != nil || !strings.Contains(out, "open: "+at) {
					t.Fatalf("%s, %s, %s: %v, %s\n%s", transport, id, server, err, out, n.log())
				}
			}
		}
		profile, err := os.ReadFile(n.path("web-alice-.toml"))
		if err != nil || len(without.FindAll(profile, -1)) != 2 {
			t.Fatalf("%v, the profile is\n%s", err, profile)
		}
		if err := os.WriteFile(n.path("still.toml"), without.ReplaceAll(profile, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := n.tryKnockFrom(n.client, "still", "-v", "--attempts", "1", "--timeout", "1s")
		if err == nil || !strings.Contains(out, "received no challenge") {
			t.Errorf("%s, a client that does not hop: %v, %s", transport, err, out)
		}
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	}
}
