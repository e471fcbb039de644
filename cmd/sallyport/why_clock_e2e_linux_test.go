package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
	"sallyport/sessions/clock"
)

// TestWhyClock: the client's clock is an hour off. If it has been set back since the last
// knock, the client knows.
func TestWhyClock(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure("[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \"[::]:8080\"\nopen_for = \"1s\"\n", "web=web")
	n.serve()
	if err := os.Setenv("XDG_STATE_HOME", n.path("client-state")); err != nil {
		t.Fatal(err)
	}
	at := func(offset time.Duration) outcome {
		t.Helper()
		var out, stderr strings.Builder
		c := clock.System()
		c.Wall = func() time.Time { return time.Now().Add(offset) }
		args := []string{"knock", n.path("web.toml"), "--no-wait", "--timeout", "500ms", "--json"}
		env := cli.Env{Args: args, Stdout: &out, Stderr: &stderr, Clock: c, Getenv: os.Getenv, HandOver: func() {}}
		code := cli.Run(t.Context(), env, command(env))
		return n.outcome(args, out.String(), code)
	}
	n.await("the service to open in time", func() bool { return at(0).Opened })
	n.closes("web")
	back := "and when this device knocked before it showed "
	expect(t, at(-time.Hour), client.ReasonClock, back, "this computer's clock is wrong")
	// The ports of another minute are closed: ICMP errors come, and nothing else is certain.
	o := at(time.Hour)
	expect(t, o, client.ReasonKnocksRefused, "ICMP errors (port unreachable)", "or the clock differ")
	if client.ClockState() == client.ClockUnsynchronised && !strings.Contains(strings.Join(o.Certain, "\n"), "clock is not synchronised") {
		t.Errorf("certain %q", o.Certain)
	}
	n.nft(nil, "table inet f { chain in { type filter hook input priority 0; udp dport 1025-65535 drop; }; }")
	expect(t, at(-time.Hour), client.ReasonClock, back, "this computer's clock is wrong")
	// The failures before do not make the clock right or wrong.
	if o := at(0); o.Reason != string(client.ReasonRefused) {
		t.Errorf("%+v", o)
	}
}
