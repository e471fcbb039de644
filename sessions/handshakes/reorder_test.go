package handshakes

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// separatePlans are plans with an encoding of each scheme, also with restarts.
func separatePlans() (plans []challenge.Plan) {
	for _, e := range []challenge.Encoding{
		{Scheme: challenge.Ranges, DataBits: 8}, {Scheme: challenge.Ranges, DataBits: 8, Restart: 12},
		{Scheme: challenge.Ranges, DataBits: 3},
		{Scheme: challenge.Sequence, DataBits: 8, SequenceBits: 5}, {Scheme: challenge.Sequence, DataBits: 8, SequenceBits: 4, Restart: 13},
		{Scheme: challenge.Differences, DataBits: 8}, {Scheme: challenge.Differences, DataBits: 8, Restart: 10},
		{Scheme: challenge.Delays, DataBits: 10, Delay: 5 * time.Millisecond},
	} {
		p := challenge.Plan{Request: e, Response: e, Ports: challenge.Ports{First: 10000, Last: 65535}}
		p.Request.Base, p.Response.Base = 10000, 30000
		plans = append(plans, p)
	}
	return plans
}

// survived returns the arrivals of a message, within a time from begin on, in an
// order and with duplicates that its encoding survives.
func survived(t *rapid.T, what string, e challenge.Encoding, ports []uint16, begin time.Duration) (all []arrival) {
	const spacing = time.Millisecond
	for i, port := range ports {
		at := begin + time.Duration(i)*spacing
		again := at
		switch {
		case e.Scheme == challenge.Delays:
			at = begin + time.Duration(i)*e.Delay
			again = at + time.Duration(rapid.IntRange(0, int(e.Delay/2)-1).Draw(t, what+" again"))
		case e.Restart == 0:
			at = begin + time.Duration(rapid.IntRange(0, len(ports)).Draw(t, what))*spacing
			again = begin + time.Duration(rapid.IntRange(0, len(ports)).Draw(t, what+" again"))*spacing
		}
		all = append(all, arrival{port, at})
		// With restarts, differences survive no duplicate after the end of its block.
		survives := e.Scheme != challenge.Differences || e.Restart == 0
		if survives && rapid.Bool().Draw(t, what+" twice") {
			all = append(all, arrival{port, again})
		}
	}
	return all
}

// TestReordering: whatever a network does to the packets of a request and of its
// response, within what their schemes survive, the exchange completes at the first
// attempt. Packets of the request arrive again after the challenge, among those of
// the response.
func TestReordering(t *testing.T) {
	plans := separatePlans()
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		plan := rapid.SampledFrom(plans).Draw(t, "plan")
		a := rapid.SampledFrom([]exchange.Algorithm{exchange.Unilateral, exchange.NATAware, exchange.Mutual}).Draw(t, "algorithm")
		v6 := rapid.Bool().Draw(t, "IPv6")
		o := operation(outer, "ssh-alice", a, false)
		self6 := netip.MustParseAddr("2001:db8::1")
		w := newHarnessFor(outer, plan, func(c *Config) { c.Slots, c.Public6 = 64, self6 }, o, operation(outer, "web-bob-1", exchange.Mutual, false))
		w.public6 = self6
		public, self := victim, "10.0.0.7"
		if v6 {
			public, self = "2001:db8:1::9", "fd00::7"
		}
		if a == exchange.Unilateral {
			self = public
		}
		nat := fixed(5000)
		if rapid.Bool().Draw(t, "symmetric") {
			nat = symmetric(5000)
		}
		p := w.newClient(o, self, public, nat)
		request := p.requestPorts()
		late := survived(t, "request", plan.Request, request, 0)
		p.receive(late)
		if len(w.sent) == 0 {
			t.Fatalf("%+v: no challenge: %v", plan, w.Stats())
		}
		w.sent = w.sent[:1] // the client answers the first one
		all := survived(t, "response", plan.Response, p.responsePorts(), 10*time.Millisecond)
		end := all[len(all)-1].at
		for i, port := range request {
			if rapid.Bool().Draw(t, fmt.Sprint("late ", i)) {
				all = append(all, arrival{port, time.Duration(rapid.IntRange(0, int(end)).Draw(t, "late"))})
			}
		}
		p.receive(all)
		if len(w.proofs) != 1 || w.proofs[0].Operation() != o {
			t.Fatalf("%+v: proofs %v, %v", plan, w.proofs, w.Stats())
		}
	})
}
