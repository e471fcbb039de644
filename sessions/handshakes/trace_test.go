package handshakes

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sallyport/verify/challenge/exchange"
)

// TestTrace: a trace gets the outcomes of requests, of wrong responses and of incomplete
// ones, with their operation; and nothing of a response that is right, which is for
// OnProof. It allocates nothing.
func TestTrace(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	allowed := true
	w := newHarness(t, func(c *Config) { c.Allows = func(*exchange.Operation, netip.Addr) bool { return allowed } }, o)
	var got []string
	w.SetTrace(func(of *exchange.Operation, outcome Outcome, source netip.Addr) {
		if of != o || source != netip.MustParseAddr("203.0.113.9") {
			t.Errorf("%v, %s", of, source)
		}
		got = append(got, outcome.String())
	})
	expect := func(what string, want ...string) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
		got = nil
	}
	client := func(port uint16) *testClient { return w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(port)) }
	p := client(5000)
	p.send(p.requestPorts())
	expect("a request", "answered")
	p.send(p.responsePorts())
	expect("a right response")
	if len(w.proofs) != 1 {
		t.Fatalf("proofs %v", w.proofs)
	}
	p = client(5001)
	p.send(p.requestPorts())
	wrong := p.responsePorts()
	wrong[len(wrong)-1] ^= 1
	p.send(wrong)
	expect("a wrong response", "answered", "refused")
	p = client(5002)
	p.send(p.requestPorts())
	whole := p.responsePorts()
	p.send(whole[:len(whole)-1])
	w.now = w.now.Add(time.Minute)
	for range 100 {
		w.now = w.now.Add(sweepTime)
		w.Sweep(w.now)
	}
	expect("an incomplete response", "answered", "response_incomplete")
	allowed = false
	p = client(5003)
	p.send(p.requestPorts())
	expect("one that is not allowed", "unmatched")
	w.SetTrace(nil)
	p = client(5004)
	p.send(p.requestPorts())
	expect("without a trace")
}
