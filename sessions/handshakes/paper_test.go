package handshakes

import (
	"fmt"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/challenge/paper"
)

// arrival is a packet of a client at a time after the message has begun.
type arrival struct {
	port uint16
	at   time.Duration
}

// receive delivers arrivals, which begin now, in the order of their times.
func (p *testClient) receive(all []arrival) {
	slices.SortStableFunc(all, func(a, b arrival) int { return int(a.at - b.at) })
	begin := p.w.now
	for _, a := range all {
		p.w.now = begin.Add(a.at)
		p.w.Receive(p.source(), netip.AddrPortFrom(p.w.serverAddress(p.public), a.port), p.w.now)
	}
}

// disturbed returns the arrivals of a message as a network may deliver it that an
// encoding promises to survive.
func disturbed(e challenge.Encoding, ports []uint16) (all []arrival) {
	for i, port := range ports {
		at := time.Duration(mrand.IntN(int(20 * time.Millisecond)))
		if e.Scheme == challenge.Delays {
			at = time.Duration(i) * e.Delay
		}
		all = append(all, arrival{port, at})
		if mrand.IntN(3) == 0 {
			all = append(all, arrival{port, at + time.Duration(mrand.IntN(int(2*time.Millisecond)))})
		}
	}
	return all
}

// TestPaperRows completes exchanges of the paper's operation with each row of its
// tables, over IPv4 and over IPv6. Packets of the request arrive again among those
// of the response.
func TestPaperRows(t *testing.T) {
	self6 := netip.MustParseAddr("2001:db8::1")
	for _, row := range paper.Rows() {
		for _, both := range []bool{false, true} {
			plan, err := row.Plan(both)
			if err != nil {
				if !both {
					t.Errorf("%s: %v", row, err)
				}
				continue
			}
			o := operation(t, paper.ID, exchange.NATAware, false)
			w := newHarnessFor(t, plan, func(c *Config) { c.Slots = 64; c.Public6 = self6 }, o)
			w.public6 = self6
			for round := range 6 {
				client, self := "203.0.113.9", fmt.Sprintf("10.0.%d.%d", mrand.IntN(256), mrand.IntN(256))
				if both && round%2 == 1 {
					client, self = "2001:db8:1::9", fmt.Sprintf("fd00::%x", mrand.IntN(1<<16))
				}
				nat := fixed(uint16(5000 + round))
				if round >= 3 {
					nat = symmetric(uint16(6000 + 100*round))
				}
				p := w.newClient(o, self, client, nat)
				w.sent, w.proofs = nil, nil
				request := p.requestPorts()
				p.receive(disturbed(plan.Request, request))
				if len(w.sent) != 1 {
					t.Fatalf("%s, %+v: %d challenges", row, plan, len(w.sent))
				}
				all := disturbed(plan.Response, p.responsePorts())
				for _, port := range request {
					if mrand.IntN(2) == 0 {
						all = append(all, arrival{port, time.Duration(mrand.IntN(int(60 * time.Millisecond)))})
					}
				}
				w.now = w.now.Add(100 * time.Millisecond)
				p.receive(all)
				if len(w.proofs) != 1 {
					t.Fatalf("%s, %+v: proofs %v, %v", row, plan, w.proofs, w.Stats())
				}
				w.now = w.now.Add(time.Minute)
			}
		}
	}
}
