package handshakes

import (
	mrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestNarrowPacketsHideNoGuess: with one bit a packet, an attacker guesses each
// packet easily. But a wrong packet ends the exchange, so the attacker must guess
// the whole response at once, from any ports and in any number of exchanges.
func TestNarrowPacketsHideNoGuess(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	narrow := challenge.Plan{
		Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 1},
		Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 1},
		Ports:    plan.Ports,
	}
	ops, err := exchange.NewOperations([]*exchange.Operation{o}, narrow)
	if err != nil {
		t.Fatal(err)
	}
	w := newHarness(t, func(c *Config) { c.Operations = ops }, o)
	for round := range 20 {
		p := w.newClient(o, "10.0.0.7", attacker, fixed(5000))
		request := p.ports(narrow.Request, p.client.Request())
		for source := range uint16(4) {
			w.from(attacker, 5000+source, request)
		}
		// Both values of every bit, from one port, or from each.
		for bit := range uint16(8 * exchange.ResponseSize) {
			for value := range uint16(2) {
				source := uint16(5000)
				if round%2 == 1 {
					source += (bit + value) % 4
				}
				w.from(attacker, source, []uint16{25600 + 2*bit + value})
			}
		}
		w.now = w.now.Add(time.Minute)
	}
	if len(w.proofs) != 0 {
		t.Errorf("proofs %v", w.proofs)
	}
	if n := w.Stats()[Answered]; n < 20 {
		t.Errorf("%d challenges: the attacker had nothing to guess at", n)
	}
}

// FuzzTable sends any packets, from a few addresses and ports, at any time:
// without a secret there is no proof, and the table does not panic.
func FuzzTable(f *testing.F) {
	f.Add([]byte("\x01\x01\x00\x73\x01\x01\x01\x73\x02\x00\x24\x00"))
	all := several(f)
	f.Fuzz(func(t *testing.T, packets []byte) {
		w := newHarness(t, func(c *Config) { c.Slots = MinSlots }, all...)
		shared := newHarnessFor(t, sharedPlans()[0], func(c *Config) { c.Slots = MinSlots }, all...)
		for ; len(packets) >= 4; packets = packets[4:] {
			source := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, packets[0] & 7}), 1000+uint16(packets[0]>>3))
			w.now = w.now.Add(time.Duration(packets[1]) * 10 * time.Millisecond)
			port := plan.Ports.First + (uint16(packets[2])<<8|uint16(packets[3]))%14336
			w.Receive(source, netip.AddrPortFrom(server, port), w.now)
			shared.Receive(source, netip.AddrPortFrom(server, port+20000-plan.Ports.First), w.now)
		}
		if len(w.proofs)+len(shared.proofs) != 0 {
			t.Errorf("proofs %v, %v", w.proofs, shared.proofs)
		}
	})
}

// TestNothingIsAmplified: in whatever way packets arrive from an address, the
// challenges to it have at most as many bytes, headers included.
func TestNothingIsAmplified(t *testing.T) {
	separate := separatePlans()
	restart, delays := separate[1], separate[len(separate)-1]
	for i, plan := range []challenge.Plan{plan, sharedPlans()[0], restart, delays} {
		nothingIsAmplified(t, plan, i < 2)
	}
}

// nothingIsAmplified sends packets in orders that the scheme may not survive;
// answered requires that there are challenges.
func nothingIsAmplified(t *testing.T, plan challenge.Plan, answered bool) {
	const headers = 20 + 8
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, true)
		w := newHarnessFor(t, plan, func(c *Config) { c.Slots = 128 }, append(several(t)[1:], o)...)
		request := w.newClient(o, victim, victim, fixed(5000)).requestPorts()
		in := 0
		send := func(source uint16, ports ...uint16) {
			in += len(ports) * headers
			w.now = w.now.Add(21 * time.Millisecond)
			w.from(victim, source, ports)
		}
		check := func(how string) {
			t.Helper()
			out := 0
			for _, s := range w.sent {
				out += headers + len(s.payload)
			}
			if out > in {
				t.Errorf("%+v, algorithm %d, %s: %d bytes answer %d", plan, a, how, out, in)
			}
			if answered && len(w.sent) == 0 {
				t.Errorf("algorithm %d, %s: nothing was answered", a, how)
			}
			w.sent, in = nil, 0
			w.now = w.now.Add(time.Minute)
		}
		last := len(request) - 1
		send(1000, request[:last]...)
		for i := range uint16(300) {
			send(2000+i, request[last])
			send(1000, request[0])
		}
		check("the last packet from new ports")
		for range 50 {
			for index := range request {
				for source := range uint16(3) {
					send(1000+source, request[index])
				}
			}
		}
		check("each packet from three ports")
		for i := range uint16(2000) {
			send(1000+i%5, request[mrand.IntN(len(request))])
		}
		send(1000, request...)
		check("any packet from five ports")
	}
}

// TestAnswersAreNotDisturbed: an attacker that replays a client's request, with
// the client's address, does not end the client's exchange: any number of times
// after the response has begun, and twice before that.
func TestAnswersAreNotDisturbed(t *testing.T) {
	everyAlgorithm(t, func(t *testing.T, a exchange.Algorithm, w *harness, heard overheard) {
		o := heard.operation
		self := "10.0.0.7"
		if a == exchange.Unilateral {
			self = victim
		}
		for name, nat := range map[string]func() uint16{"one port": fixed(5000), "symmetric": symmetric(5000)} {
			for begun := range exchange.ResponseSize {
				w.proofs = nil
				p := w.newClient(o, self, victim, nat)
				request := p.requestPorts()
				p.send(request)
				response := p.responsePorts()
				p.send(response[:begun])
				replays := 30
				if begun == 0 {
					replays = challengesPerPort - 1
				}
				for range replays {
					p.send(request)
				}
				p.send(response[begun:])
				if len(w.proofs) != 1 {
					t.Errorf("algorithm %d, %s, after %d packets: proofs %v", a, name, begun, w.proofs)
				}
				w.now = w.now.Add(time.Minute)
			}
		}
	})
}

// TestSlowResponse: with delays, a response may take longer than without.
func TestSlowResponse(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	slow := challenge.Plan{
		Request:  challenge.Encoding{Scheme: challenge.Delays, Base: 16384, DataBits: 8, Delay: 15 * time.Second},
		Response: challenge.Encoding{Scheme: challenge.Delays, Base: 25600, DataBits: 8, Delay: 15 * time.Second},
		Ports:    plan.Ports,
	}
	ops, err := exchange.NewOperations([]*exchange.Operation{o}, slow)
	if err != nil {
		t.Fatal(err)
	}
	w := newHarness(t, func(c *Config) { c.Operations = ops }, o)
	p := w.newClient(o, "10.0.0.7", victim, fixed(5000))
	send := func(ports []uint16) {
		for _, port := range ports {
			p.send([]uint16{port})
			w.now = w.now.Add(15 * time.Second)
		}
	}
	send(p.ports(slow.Request, p.client.Request()))
	send(p.ports(slow.Response, p.answer().Response))
	if len(w.proofs) != 1 {
		t.Errorf("proofs %v", w.proofs)
	}
}
