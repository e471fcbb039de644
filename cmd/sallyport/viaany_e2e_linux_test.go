package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"sallyport/bench/netns"
)

// TestViaProxyForAnyAddress: an exchange over DNS opens a program behind the firewall and a
// proxy for connections from any address. Only those that prove themselves reach the
// program, and none does after the lease.
func TestViaProxyForAnyAddress(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	program := n.behindProxy("[::]:2525")
	n.configure("[[service]]\nname = \"mail\"\ntype = \"firewall\"\nlisten = \":2525\"\n"+viaKeys+"open_for = \"1h\"\nopen_max = \"2h\"\npolicy = \"reject\"\n", "alice=mail")
	n.appendTo("gate/sallyportd.toml", fmt.Sprintf("[challenge]\ncapture = \"none\"\n[challenge.dns]\nlisten = \":53\"\nzone = %q\nservers = [\"ns.example.org\"]\n", zoneName)+
		n.operation("mail-alice", fmt.Sprintf("service = \"mail\"\nclient = %q", n.identifier("alice"))))
	n.operationProfile("mail-alice")
	own, err := os.ReadFile(n.path("alice.toml"))
	if err != nil {
		t.Fatal(err)
	}
	operation, err := os.ReadFile(n.path("mail-alice.toml"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(operation), "[challenge]")
	n.write("both.toml", fmt.Sprintf("%s\n[challenge]\ndns_servers = [%q]%s", own, asClient, table))
	n.serve()
	accepts := func(when string, want bool) {
		t.Helper()
		for host, address := range map[*netns.Host]string{n.client: asClient, n.stranger: asStranger} {
			c, err := n.dial(host, "tcp", address+":2525")
			if got := err == nil; got != want {
				t.Errorf("%s, %s accepts connections: %t, %v", when, address, got, err)
			}
			if err == nil && answers(c) {
				t.Errorf("%s, a connection to %s without a proof gets an answer", when, address)
			}
			if want && n.reaches(host, address+":10025") {
				t.Errorf("%s, the port of the proxy is open", when)
			}
		}
	}
	accepts("before", false)
	answer, err := n.connectAs("both", "a line\n", "--carrier", "dns")
	first, rest, _ := strings.Cut(answer, "\n")
	if err != nil || !strings.HasPrefix(first, "198.51.100.2:") || rest != "a line\n" {
		t.Errorf("%v: the program answered %q", err, answer)
	}
	// A scanner sees that the port is open, and nothing else.
	accepts("during the lease", true)
	n.closeAll()
	accepts("after the lease", false)
	if accepted, bare := program.seen(); accepted != 1 || bare != 0 {
		t.Errorf("the program got %d connections, %d without a header", accepted, bare)
	}
}
