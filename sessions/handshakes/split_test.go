package handshakes

import (
	"bytes"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/verify/challenge/exchange"
)

// splitHarness is a harness of the gateway that coordinates. Arrived has the packets that it
// received by itself.
type splitHarness struct {
	*harness
	arrived map[uint64]Arrival
	next    uint64
}

func newSplitHarness(t testing.TB, list ...*exchange.Operation) *splitHarness {
	t.Helper()
	s := &splitHarness{arrived: map[uint64]Arrival{}}
	s.harness = newHarness(t, func(c *Config) {
		c.AnswerEarlier = func(to Arrival, payload []byte) error {
			if to != s.arrived[to.Number] {
				t.Errorf("an answer to %v, want %v", to, s.arrived[to.Number])
			}
			s.sent = append(s.sent, sent{to.Source, to.Destination, bytes.Clone(payload)})
			return nil
		}
	}, list...)
	return s
}

// take takes a packet that the gateway received, or another one.
func (s *splitHarness) take(source netip.AddrPort, port uint16, relayed bool) {
	s.now = s.now.Add(100 * time.Microsecond)
	a := Arrival{Source: source, Destination: netip.AddrPortFrom(netip.Addr{}, port)}
	if !relayed {
		s.next++
		a.Destination, a.Number = netip.AddrPortFrom(server, port), s.next
		s.arrived[s.next] = a
	}
	s.Take(a, s.now)
}

// split sends packets to k gateways in turn, of which the coordinator is one; they arrive in
// any order.
func (s *splitHarness) split(p *testClient, ports []uint16, k, coordinator int) {
	order := mrand.Perm(len(ports))
	for _, i := range order {
		s.take(p.source(), ports[i], i%k != coordinator)
	}
}

// TestSplitExchange: a gateway that receives a part of an exchange, and the rest from
// others, answers it once, to a packet that it received by itself.
func TestSplitExchange(t *testing.T) {
	for i := range 200 {
		all := several(t)
		o := all[i%len(all)]
		s := newSplitHarness(t, all...)
		port := fixed(5000)
		if i/len(all)%2 == 0 {
			port = symmetric(5000)
		}
		self := "10.0.0.7"
		if o.Algorithm() == exchange.Unilateral {
			self = "203.0.113.9"
		}
		p := s.newClient(o, self, "203.0.113.9", port)
		k := 2 + mrand.IntN(4)
		coordinator := mrand.IntN(k)
		s.split(p, p.requestPorts(), k, coordinator)
		if len(s.sent) != 1 {
			t.Fatalf("%s over %d gateways: %d challenges", o.ID(), k, len(s.sent))
		}
		at := s.sent[0]
		answered := func(a Arrival) bool { return a.Source == at.to && a.Destination == at.from }
		if !slices.ContainsFunc(mapValues(s.arrived), answered) {
			t.Fatalf("the challenge goes from %s to %s, where no packet arrived", at.from, at.to)
		}
		response := p.responsePorts()
		s.split(p, response, k, coordinator)
		if len(s.proofs) != 1 || s.proofs[0].Operation() != o || s.proofs[0].Client() != p.public {
			t.Fatalf("%s over %d gateways: proofs %v", o.ID(), k, s.proofs)
		}
		s.split(p, response, k, coordinator)
		if len(s.proofs) != 1 || len(s.sent) != 1 {
			t.Fatalf("again: proofs %v, sent %v", s.proofs, s.sent)
		}
	}
}

func mapValues(m map[uint64]Arrival) (all []Arrival) {
	for _, a := range m {
		all = append(all, a)
	}
	return all
}

// TestWholeExchangeElsewhere: a gateway does not answer a request of which it received no
// packet, and counts it.
func TestWholeExchangeElsewhere(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	s := newSplitHarness(t, o)
	p := s.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
	for _, port := range p.requestPorts() {
		s.take(p.source(), port, true)
	}
	if n := s.Stats()[Elsewhere]; len(s.sent) != 0 || n != 1 {
		t.Errorf("sent %v, %d counted", s.sent, n)
	}
	// The control: with one packet here, it answers.
	for i, port := range p.requestPorts() {
		s.take(p.source(), port, i > 0)
	}
	if len(s.sent) != 1 {
		t.Errorf("sent %v", s.sent)
	}
}

// TestRelayedPacketEndsNoOtherExchange: a packet that another gateway relays cannot belong
// to an exchange of which all packets came here, and so does not end it; one of a split
// exchange is ended by it, as by any wrong packet.
func TestRelayedPacketEndsNoOtherExchange(t *testing.T) {
	for _, split := range []bool{false, true} {
		o := operation(t, "ssh-alice", exchange.NATAware, false)
		s := newSplitHarness(t, o)
		p := s.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
		for i, port := range p.requestPorts() {
			s.take(p.source(), port, split && i == 1)
		}
		response := p.responsePorts()
		s.take(p.source(), response[0]^1, true)
		for _, port := range response {
			s.take(p.source(), port, false)
		}
		if opened := len(s.proofs) == 1; opened == split {
			t.Errorf("split %t: opened %t", split, opened)
		}
	}
}

// TestLossIsCountedByTheCoordinator: a gateway that receives a part of a request does not
// count it as one that has lost packets, if another one coordinates the source.
func TestLossIsCountedByTheCoordinator(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		for name, port := range map[string]func() uint16{"one port": fixed(5000), "symmetric": symmetric(5000)} {
			o := operation(t, "ssh-alice", exchange.NATAware, false)
			s := newSplitHarness(t, o)
			p := s.newClient(o, "10.0.0.7", "203.0.113.9", port)
			ports := p.requestPorts()
			for _, port := range ports[:len(ports)-1] {
				s.now = s.now.Add(time.Millisecond)
				s.Take(Arrival{Source: p.source(), Destination: netip.AddrPortFrom(server, port), Elsewhere: elsewhere}, s.now)
			}
			s.now = s.now.Add(time.Minute)
			s.Sweep(s.now)
			if counted := s.Stats()[RequestIncomplete] == 1; counted == elsewhere {
				t.Errorf("%s, elsewhere %t: counted %t", name, elsewhere, counted)
			}
		}
	}
}
