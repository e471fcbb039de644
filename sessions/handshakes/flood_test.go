package handshakes

import (
	"fmt"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/bench/race"
	"sallyport/verify/challenge/exchange"
)

func anyAddress() netip.Addr {
	n := mrand.Uint32() | 1<<24
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// flood sends n packets between two packets of an honest client.
type flood func(w *harness, n int)

// randomPackets sends packets from random addresses to random ports.
func randomPackets(w *harness, n int) {
	for range n {
		p := plan.Ports.First + uint16(mrand.IntN(int(plan.Ports.Last-plan.Ports.First)+1))
		w.Receive(netip.AddrPortFrom(anyAddress(), uint16(1+mrand.IntN(65535))), netip.AddrPortFrom(server, p), w.now)
	}
}

// requests sends valid requests from spoofed addresses, n packets in all.
func requests(o *exchange.Operation) flood {
	return func(w *harness, n int) {
		for n > 0 {
			p := w.newClient(o, "10.0.0.7", anyAddress().String(), fixed(4000))
			ports := p.requestPorts()
			for _, port := range ports {
				w.Receive(p.source(), netip.AddrPortFrom(server, port), w.now)
			}
			n -= len(ports)
		}
	}
}

// TestExchangesSurviveFloods runs exchanges of honest clients, on a line of 64
// kbit/s and with a round trip of 100 ms, during a flood.
func TestExchangesSurviveFloods(t *testing.T) {
	all := several(t)
	o := all[0]
	for name, f := range map[string]struct {
		flood
		rate int // packets a second
	}{
		"100,000 random packets a second": {randomPackets, 100_000},
		"10,000 requests a second":        {requests(o), 10_000 * 13},
	} {
		for nat, port := range map[string]func() func() uint16{
			"one port":  func() func() uint16 { return fixed(5000) },
			"symmetric": func() func() uint16 { return symmetric(5000) },
		} {
			t.Run(name+", "+nat, func(t *testing.T) {
				w := newHarness(t, func(c *Config) { c.Slots = DefaultSlots }, all...)
				wait := func(d time.Duration) {
					for range d / time.Millisecond {
						f.flood(w, f.rate/1000)
						w.now = w.now.Add(time.Millisecond)
					}
				}
				fill, honest := time.Second, 4
				if race.Enabled { // it finds nothing here, and takes a minute
					fill, honest = time.Second/10, 1
				}
				wait(fill) // the table
				proved := 0
				for range honest {
					p := w.newClient(o, "10.0.0.7", anyAddress().String(), port())
					send := func(ports []uint16) {
						for _, port := range ports {
							p.send([]uint16{port})
							wait(4 * time.Millisecond)
						}
					}
					w.sent, w.proofs = nil, nil
					send(p.requestPorts())
					mine := slices.IndexFunc(w.sent, func(s sent) bool { return s.to.Addr() == p.public })
					if mine < 0 {
						continue
					}
					w.sent = w.sent[mine : mine+1]
					response := p.responsePorts()
					wait(100 * time.Millisecond)
					send(response)
					proved += len(w.proofs)
				}
				if proved != honest {
					t.Errorf("%d of %d clients completed an exchange; %v", proved, honest, w.Stats())
				}
			})
		}
	}
}

func TestNothingIsAllocatedForPackets(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newHarness(t, nil, o)
	p := w.newClient(o, "10.0.0.7", "203.0.113.9", fixed(5000))
	ports := p.requestPorts()
	for i, port := range ports[:len(ports)-1] {
		if n := testing.AllocsPerRun(100, func() { w.send(p.source(), port) }); n != 0 {
			t.Errorf("packet %d of a request: %v", i, n)
		}
	}
	if n := testing.AllocsPerRun(1000, func() { randomPackets(w, 1) }); n != 0 {
		t.Errorf("a random packet: %v", n)
	}
	w.send(p.source(), ports[len(ports)-1])
	if len(w.sent) != 1 {
		t.Fatal("no challenge")
	}
	response := p.responsePorts()
	for i, port := range response[:len(response)-1] {
		if n := testing.AllocsPerRun(100, func() { w.send(p.source(), port) }); n != 0 {
			t.Errorf("packet %d of a response: %v", i, n)
		}
	}
}

// TestNothingIsAllocatedForRequests: a flood of requests, each of which gets a
// challenge, makes no garbage, so the heap does not grow.
func TestNothingIsAllocatedForRequests(t *testing.T) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, false)
		w := newHarness(t, func(c *Config) {
			c.Rate = 1 << 30
			c.Answer = func(netip.AddrPort, netip.AddrPort, []byte) error { return nil }
		}, o)
		p := w.newClient(o, "203.0.113.9", "203.0.113.9", fixed(5000))
		ports := p.requestPorts()
		if n := testing.AllocsPerRun(100, func() {
			for _, port := range ports {
				w.send(p.source(), port)
			}
		}); n != 0 {
			t.Errorf("algorithm %d: %v allocations a request", a, n)
		}
		if w.Stats()[Answered] < 100 {
			t.Errorf("algorithm %d: %v", a, w.Stats())
		}
	}
}

// BenchmarkReceive measures Receive during each flood.
func BenchmarkReceive(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		var list []*exchange.Operation
		for i := range n {
			list = append(list, operation(b, fmt.Sprintf("ssh-%05d", i), exchange.NATAware, false))
		}
		for _, name := range []string{"random", "requests"} {
			b.Run(fmt.Sprintf("%s/operations=%d", name, n), func(b *testing.B) {
				w := newHarness(b, func(c *Config) {
					c.Slots = DefaultSlots
					c.Answer = func(netip.AddrPort, netip.AddrPort, []byte) error { return nil }
				}, list...)
				// The packets are made before the measurement.
				type arrival struct{ from, to netip.AddrPort }
				var arrivals []arrival
				for range 1 << 16 {
					from := netip.AddrPortFrom(anyAddress(), 4000)
					port := plan.Ports.First + uint16(mrand.IntN(14336))
					arrivals = append(arrivals, arrival{from, netip.AddrPortFrom(server, port)})
				}
				if name == "requests" {
					arrivals = arrivals[:0]
					for len(arrivals) < 1<<16 {
						p := w.newClient(list[mrand.IntN(n)], "10.0.0.7", anyAddress().String(), fixed(4000))
						for _, port := range p.requestPorts() {
							arrivals = append(arrivals, arrival{p.source(), netip.AddrPortFrom(server, port)})
						}
					}
				}
				now := start
				i := 0
				for b.Loop() {
					now = now.Add(10 * time.Microsecond)
					a := arrivals[i%len(arrivals)]
					w.Receive(a.from, a.to, now)
					i++
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pkts/s")
			})
		}
	}
}
