package handshakes

import (
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/verify/challenge/exchange"
)

// settle lets a time pass, and calls Sweep once a second, as a server does.
func (w *harness) settle(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(time.Second)
		w.Sweep(w.now)
	}
}

func (w *harness) incompletes() [2]uint64 {
	s := w.Stats()
	return [2]uint64{s[RequestIncomplete], s[ResponseIncomplete]}
}

// TestLossIsCounted loses each packet of a request, and of a response, once. No
// other packet arrives afterwards, as the next attempt of a client may not either.
func TestLossIsCounted(t *testing.T) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		for name, nat := range map[string]func() uint16{"one port": fixed(5000), "symmetric": symmetric(5000)} {
			o := operation(t, "ssh-alice", a, false)
			w := newHarness(t, func(c *Config) { c.Slots = 64 }, o, operation(t, "web-bob-1", exchange.Mutual, false))
			self := "10.0.0.7"
			if a == exchange.Unilateral {
				self = victim
			}
			var want [2]uint64
			check := func(what string, lost int) {
				t.Helper()
				w.settle(20 * time.Second)
				if got := w.incompletes(); got != want {
					t.Fatalf("algorithm %d, %s: %s, packet %d lost: %v, want %v", a, name, what, lost, got, want)
				}
			}
			n := len(w.newClient(o, self, victim, nat).requestPorts())
			for lost := range n {
				p := w.newClient(o, self, victim, nat)
				p.send(slices.Delete(p.requestPorts(), lost, lost+1))
				want[0]++
				check("request", lost)
			}
			for lost := range exchange.ResponseSize {
				p := w.newClient(o, self, victim, nat)
				p.send(p.requestPorts())
				p.send(slices.Delete(p.responsePorts(), lost, lost+1))
				want[1]++
				check("response", lost)
			}
			p := w.newClient(o, self, victim, nat)
			p.send(p.requestPorts())
			p.send(p.responsePorts())
			check("nothing", -1)
			if w.Stats()[Verified] != 1 {
				t.Errorf("%v", w.Stats())
			}
		}
	}
}

// TestEachLossIsCountedOnce: two clients behind one address lose a packet each. The
// slot for any port has packets of both.
func TestEachLossIsCountedOnce(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	for _, backwards := range []bool{false, true} {
		w := newHarness(t, func(c *Config) { c.Slots = 64 }, o)
		p, q := w.newClient(o, "10.0.0.7", victim, fixed(5000)), w.newClient(o, "10.0.0.7", victim, fixed(5001))
		p.send(p.requestPorts()[1:])
		q.send(q.requestPorts()[1:])
		if backwards {
			w.now = w.now.Add(20 * time.Second)
			for i := len(w.slots) - 1; i >= 0; i-- {
				w.retire(&w.slots[i])
			}
		}
		w.settle(20 * time.Second)
		if got := w.incompletes(); got != [2]uint64{2, 0} {
			t.Errorf("%v", got)
		}
	}
}

// TestLossIsCountedByTraffic: without Sweep, the exchange that takes the slot of an
// incomplete one counts it.
func TestLossIsCountedByTraffic(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newHarness(t, func(c *Config) { c.Slots = MinSlots }, o) // one bucket
	p := w.newClient(o, "10.0.0.7", victim, fixed(5000))
	p.send(p.requestPorts()[1:])
	w.now = w.now.Add(2 * time.Second)
	for i := range uint16(waysPerKind) {
		p.send(p.requestPorts()[:1])
		p.port = fixed(6000 + i)
		w.now = w.now.Add(2 * time.Second)
	}
	if got := w.incompletes(); got != [2]uint64{1, 0} {
		t.Errorf("%v", got)
	}
}

// TestOthersAreNoLoss: packets that no client sent, exchanges that end otherwise, and
// requests that the network duplicates are not lost ones.
func TestOthersAreNoLoss(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	all := append(several(t)[1:], o)
	for name, act := range map[string]func(w *harness){
		"random packets": func(w *harness) { randomPackets(w, 6_000) },
		"random packets from an address": func(w *harness) {
			for range 6_000 {
				w.send(netip.AddrPortFrom(netip.MustParseAddr(attacker), uint16(1000+mrand.IntN(3))), plan.Ports.First+uint16(mrand.IntN(14336)))
			}
		},
		"a scan": func(w *harness) {
			for port := plan.Ports.First; port <= plan.Ports.Last; port++ {
				w.send(netip.AddrPortFrom(netip.MustParseAddr(attacker), 5000), port)
			}
		},
		"a request in a scan of ID ports": func(w *harness) {
			p := w.newClient(o, "10.0.0.7", attacker, fixed(5000))
			p.send(p.requestPorts()[:5]) // less than half
		},
		"requests that are evicted": func(w *harness) {
			requests(o)(w, 6_000)
			w.now = w.now.Add(time.Millisecond)
		},
		"a challenge without a response": func(w *harness) {
			p := w.newClient(o, "10.0.0.7", victim, fixed(5000))
			p.send(p.requestPorts())
		},
		"a response with a wrong packet": func(w *harness) {
			p := w.newClient(o, "10.0.0.7", victim, fixed(5000))
			p.send(p.requestPorts())
			ports := p.responsePorts()
			p.send(ports[:10])
			p.send([]uint16{ports[10] ^ 1})
		},
		"a request that arrives twice in part": func(w *harness) {
			p := w.newClient(o, "10.0.0.7", victim, fixed(5000))
			request := p.requestPorts()
			p.send(request)
			p.send(request[:len(request)-1])
			p.send(p.responsePorts())
		},
		"the part of a request after the ID": func(w *harness) {
			p := w.newClient(operation(w.t, "web-alice", exchange.Mutual, false), "10.0.0.7", attacker, fixed(5000))
			p.send(p.requestPorts()[len("web-alice"):])
		},
		"two ports": func(w *harness) { // the slot for any port has a part of both
			p, q := w.newClient(o, "10.0.0.7", victim, fixed(5000)), w.newClient(o, "10.0.0.7", victim, fixed(5001))
			ports := p.requestPorts()
			for i := range ports {
				p.send(ports[i : i+1])
				q.send(ports[i : i+1])
			}
		},
	} {
		w := newHarness(t, func(c *Config) { c.Slots = 256 }, all...)
		act(w)
		w.settle(20 * time.Second)
		if got := w.incompletes(); got != [2]uint64{} {
			t.Errorf("%s: %v; %v", name, got, w.Stats())
		}
	}
}

// TestSweepIsBounded: a call goes through a part of the table, and allocates nothing;
// calls once a second go through all of it.
func TestSweepIsBounded(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newHarness(t, func(c *Config) { c.Slots = 1 << 16 }, o)
	for range 1000 {
		p := w.newClient(o, "10.0.0.7", anyAddress().String(), fixed(5000))
		p.send(p.requestPorts()[1:])
	}
	w.now = w.now.Add(time.Hour)
	w.Sweep(w.now)
	some := w.incompletes()[0]
	if some == 0 || some > 1000/2 {
		t.Errorf("%d of 1000 after a call", some)
	}
	if n := testing.AllocsPerRun(10, func() { w.now = w.now.Add(time.Second); w.Sweep(w.now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := w.incompletes()[0]; got != 1000 {
		t.Errorf("%d of 1000", got)
	}
}
