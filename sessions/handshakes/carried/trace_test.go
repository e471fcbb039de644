package carried

import (
	"fmt"
	"net/netip"
	"testing"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// TestTrace: a trace gets each outcome with its operation and its address, except for right
// responses, which are for OnProof; also of messages that name no operation. It allocates
// nothing, and the counters are the same with a trace and without.
func TestTrace(t *testing.T) {
	run := func(traced bool) (counts [NumOutcomes]uint64) {
		o, random := newOperation(t, "ssh-alice", exchange.NATAware, false), newOperation(t, "ssh-bob--", exchange.NATAware, true)
		allowed := true
		h := newHarness(t, func(c *Config) {
			c.Allows = func(*exchange.Operation, netip.Addr) bool { return allowed }
			c.Port = func(*exchange.Operation) uint16 { return 0 }
		}, o, random)
		var got []string
		if traced {
			h.SetTrace(func(of *exchange.Operation, e Event, a netip.Addr) {
				id := "-"
				if of != nil {
					id = of.ID()
				}
				got = append(got, fmt.Sprintf("%s %s %v", id, e, a))
			})
		}
		expect := func(what string, want ...string) {
			t.Helper()
			if traced && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
			got = nil
		}
		const of, none = "ssh-alice ", " invalid IP"
		from := " " + victim.String()
		c := h.client(o, carrier.Request4, 1)
		a := c.answer()
		expect("a request", of+"answered"+from)
		c.ask()
		expect("again", of+"repeated"+from)
		other := *c.request
		other.Kind = carrier.RequestConnection
		h.web.Request(nil, &other, victim, h.now)
		c.respond(a.Response)
		c.respond(a.Response)
		if len(h.proofs) != 1 {
			t.Fatalf("proofs %v", h.proofs)
		}
		other = *h.client(random, carrier.Request4, 1).request
		h.web.Request(nil, &other, victim, h.now)
		expect("a right response, and other requests", "- no_operation"+none, "ssh-bob-- conflicting"+from)
		c = h.client(o, carrier.RequestConnection, 2)
		c.ask()
		c.respond([]byte("wrong"))
		expect("a wrong response", of+"answered"+none, of+"refused"+none)
		h.web.Request(nil, h.client(o, carrier.Request4, 3).request, victim6, h.now)
		h.web.OtherFamily(h.client(o, carrier.Request4, 3).request, victim6)
		expect("from another family", of+"other_address "+victim6.String(), of+"other_address "+victim6.String())
		h.web.Request(nil, h.message(carrier.Request4, 4, make([]byte, exchange.MaxSignedRequest)), victim, h.now)
		expect("no operation", "- no_operation"+from)
		h.client(random, carrier.Request4, 5).ask()
		expect("no port", "ssh-bob-- failed"+from)
		h.client(o, carrier.Request4, 6).ask()
		h.now = h.now.Add(ExchangeTime)
		h.Sweep(h.now)
		h.client(o, carrier.Request4, 6).respond([]byte("late"))
		expect("too late", of+"answered"+from, of+"expired"+from, "- no_exchange"+none)
		allowed = false
		h.client(o, carrier.Request4, 7).ask()
		expect("not allowed", of+"not_allowed"+from)
		allowed = true
		for x := carrier.Exchange(100); h.Stats()[RateLimited] == 0; x++ {
			h.client(o, carrier.Request4, x).ask()
		}
		if traced && got[len(got)-1] != of+"rate_limited"+from {
			t.Errorf("too often: %q", got)
		}
		h.SetTrace(nil)
		got = nil
		h.client(o, carrier.Request4, 8).ask()
		expect("without a trace")
		return h.Stats()
	}
	if with, without := run(true), run(false); with != without {
		t.Errorf("counters %v with a trace, %v without", with, without)
	}
	for e := range Event(NumEvents) {
		if e.String() == "" || fmt.Sprint(e) == fmt.Sprintf("event %d", uint8(e)) {
			t.Errorf("event %d has no name", uint8(e))
		}
	}
}

// TestTraceOfExchangesThatGiveWay: they are shown, and those that are over are not.
func TestTraceOfExchangesThatGiveWay(t *testing.T) {
	o := newOperation(t, "ssh-alice", exchange.NATAware, false)
	h := newHarness(t, func(c *Config) { c.Slots = 1024 }, o)
	n := uint64(0)
	h.SetTrace(func(_ *exchange.Operation, e Event, _ netip.Addr) {
		if e == EventOf(Evicted) {
			n++
		}
	})
	x := carrier.Exchange(1000)
	for range 29 {
		h.flood(o, carrier.RequestConnection, &x)
	}
	if got := h.Stats()[Evicted]; n != got || n == 0 {
		t.Errorf("%d in the trace, %d counted", n, got)
	}
}
