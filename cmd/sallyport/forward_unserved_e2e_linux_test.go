package main

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
)

// TestForwardNobodyListens: local connections to a port where no program listens are
// reset, with the reason that connect has, and cause no knock while the lease lasts.
func TestForwardNobodyListens(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(fmt.Sprintf("[[service]]\nname = \"echo\"\ntype = \"proxy\"\nlisten = \":8080\"\nupstream = %q\nopen_for = \"1h\"\nopen_max = \"2h\"\n", echoEOF(t))+
		"[[service]]\nname = \"nobody\"\ntype = \"firewall\"\nlisten = \":8023\"\nopen_for = \"1h\"\nopen_max = \"2h\"\n", "alice=echo,nobody")
	n.serve()
	reset := func(at string) {
		t.Helper()
		for i := range 5 {
			// The reset may come before connect(2) has returned.
			c, err := n.dial(n.client, "tcp", at)
			if err == nil {
				c.SetDeadline(netns.Deadline(t))
				_, err = c.Read(make([]byte, 1))
				c.Close()
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("connection %d to %s: %v, want a reset", i, at, err)
			}
		}
	}
	failed := func(f *forwardRun) (list []forwardEvent) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range f.events {
			if e.Event == "failed" {
				list = append(list, e)
			}
		}
		return list
	}
	leases := func() int { return n.logged("msg=opened service=nobody ") + n.logged("msg=renewed service=nobody ") }

	first := n.forwards(n.client, 2, nil, n.path("alice.toml"), "8080", "8023")
	reset("127.0.0.1:8023")
	if got := leases(); got != 1 {
		t.Errorf("%d knocks, want 1", got)
	}
	if e := failed(first); len(e) != 1 || e[0].Reason != string(client.ReasonNotListening) || e[0].Port != "8023" {
		t.Errorf("failures: %+v", e)
	}
	if got, err := first.echoed("127.0.0.1:8080", "text"); err != nil || got != "text" {
		t.Errorf("at the other port: %q, %v", got, err)
	}
	first.interrupt()

	// The lease is there before the command: the service does not drop the first SYN.
	second := n.forwards(n.client, 2, nil, n.path("alice.toml"), "8080", "8023")
	if got, err := second.echoed("127.0.0.1:8080", "text"); err != nil || got != "text" {
		t.Errorf("at the other port: %q, %v", got, err)
	}
	reset("127.0.0.1:8023")
	if e := failed(second); len(e) != 1 || e[0].Reason != string(client.ReasonRefused) || e[0].Port != "8023" {
		t.Errorf("failures: %+v", e)
	}
	second.interrupt()
}
