package main

import (
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
)

// TestWhyUnconfirmed: a UDP service opens, and nothing shows that to the client. The command
// ends with an exit code for that, unless the user has asked for no watch.
func TestWhyUnconfirmed(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	far := netns.NewHost(t)
	netns.ConnectDelayed(t, netns.End{Name: "tofar", Addresses: []string{"192.0.2.1/24"}}, far,
		netns.End{Name: "far", Addresses: []string{"192.0.2.2/24"}}, 100*time.Millisecond)
	n.echo("127.0.0.1:5400")
	n.configure("[[service]]\nname = \"echo\"\ntype = \"proxy\"\nprotocol = \"udp\"\nlisten = \"[::]:5300\"\nupstream = \"127.0.0.1:5400\"\nopen_for = \"2s\"\n",
		"echo=echo")
	n.rewrite("echo", "none", "service = ':5300/udp'", "")
	n.rewrite("echo", "far", asClient, "192.0.2.1")
	n.rewrite("echo", "asked", "service =", "watch = 'none'\nservice =")
	n.serve()
	// The first packets are lost, and the second sequence opens the service.
	n.nft(nil, "table inet f { chain in { type filter hook input priority 0; udp dport 1025-65535 quota until 100 bytes drop; }; }")
	if o := n.why(n.client, "knock", n.path("echo.toml")); o.ExitCode != 3 {
		t.Errorf("%+v", o)
	}
	n.opensUDP(n.client, asClient+":5300")
	n.run(nil, "nft", "delete", "table", "inet", "f")
	for _, row := range []struct {
		args []string
		code int
		said string
	}{
		{[]string{"echo"}, 3, "sent: 2 attempts to 198.51.100.1; the client cannot confirm that 198.51.100.1:5300/udp opened, because it is a UDP service"},
		{[]string{"none"}, 3, "the profile names no service to watch, so the client cannot confirm that one opened"},
		{[]string{"echo", "--no-watch"}, 0, "sent: 2 attempts"},
		{[]string{"echo", "--watch", "none", "--attempts", "3"}, 0, "sent: 3 attempts"},
		{[]string{"asked"}, 0, "sent: 2 attempts"},
	} {
		args := append([]string{"knock", n.path(row.args[0] + ".toml")}, row.args[1:]...)
		o := n.why(n.client, args...)
		if o.Reason != string(client.ReasonUnconfirmed) || !o.Sent || o.Opened || o.ExitCode != row.code {
			t.Errorf("%v: %+v", row.args, o)
		}
		text, _ := n.try(n.client, n.path("sallyport"), args...)
		if !strings.Contains(text, row.said) {
			t.Errorf("%v: printed %q", row.args, text)
		}
	}
	// The command of run starts, whatever cannot be confirmed.
	out := n.run(n.client, n.path("sallyport"), "run", n.path("echo.toml"), "--", "echo", "{host}")
	if !strings.Contains(out, asClient) {
		t.Errorf("run printed %q", out)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	// Without a server, ICMP errors come. Over a long way they come after the next sequence.
	for on, profile := range map[*netns.Host]string{n.client: "echo", far: "far"} {
		o := n.why(on, "knock", n.path(profile+".toml"))
		expect(t, o, client.ReasonKnocksRefused, "ICMP errors (port unreachable) came for ", "the server does not run")
		if o.ExitCode != 1 {
			t.Errorf("%s: %+v", profile, o)
		}
	}
}
