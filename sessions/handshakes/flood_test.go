package handshakes

import (
	"fmt"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/verify/challenge/exchange"
)

func anyAddress() netip.Addr {
	n := mrand.Uint32() | 1<<24
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// flood is what comes between two packets of an honest client.
type flood func(w *world, n int)

// randomPackets come from everywhere, to any of the ports.
func randomPackets(w *world, n int) {
	for range n {
		p := plan.Ports.First + uint16(mrand.IntN(int(plan.Ports.Last-plan.Ports.First)+1))
		w.Take(netip.AddrPortFrom(anyAddress(), uint16(1+mrand.IntN(65535))), netip.AddrPortFrom(server, p), w.now)
	}
}

// requests are good ones, from addresses that never asked: n packets of them.
func requests(o *exchange.Operation) flood {
	return func(w *world, n int) {
		for n > 0 {
			p := w.peer(o, "10.0.0.7", anyAddress().String(), fixed(4000))
			ports := p.requestPorts()
			for _, port := range ports {
				w.Take(p.source(), netip.AddrPortFrom(server, port), w.now)
			}
			n -= len(ports)
		}
	}
}

// TestExchangesSurviveFloods has honest clients, on a line of 64 kbit/s and with
// a round trip of 100 ms, speak while strangers send.
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
		for nat, port := range map[string]func() func() uint16{"one port": func() func() uint16 { return fixed(5000) }, "symmetric": func() func() uint16 { return symmetric(5000) }} {
			t.Run(name+", "+nat, func(t *testing.T) {
				w := newWorld(t, func(c *Config) { c.Slots = DefaultSlots }, all...)
				wait := func(d time.Duration) {
					for range d / time.Millisecond {
						f.flood(w, f.rate/1000)
						w.now = w.now.Add(time.Millisecond)
					}
				}
				// Till the table is as full as it gets.
				wait(time.Second)
				const honest = 4
				granted := 0
				for range honest {
					p := w.peer(o, "10.0.0.7", anyAddress().String(), port())
					send := func(ports []uint16) {
						for _, port := range ports {
							p.send([]uint16{port})
							wait(4 * time.Millisecond)
						}
					}
					w.sent, w.granted = nil, nil
					send(p.requestPorts())
					mine := slices.IndexFunc(w.sent, func(s sent) bool { return s.to.Addr() == p.public })
					if mine < 0 {
						continue
					}
					w.sent = w.sent[mine : mine+1]
					response := p.responsePorts()
					wait(100 * time.Millisecond)
					send(response)
					granted += len(w.granted)
				}
				if granted != honest {
					t.Errorf("%d of %d were let in; %v", granted, honest, w.Stats())
				}
			})
		}
	}
}

func TestNothingIsAllocatedForPackets(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newWorld(t, nil, o)
	p := w.peer(o, "10.0.0.7", "203.0.113.9", fixed(5000))
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

// TestNothingIsAllocatedForRequests: a flood of requests, each of which is
// answered, leaves no garbage, and so does not let the heap grow.
func TestNothingIsAllocatedForRequests(t *testing.T) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		o := operation(t, "ssh-alice", a, false)
		w := newWorld(t, func(c *Config) {
			c.Rate = 1 << 30
			c.Answer = func(netip.AddrPort, netip.AddrPort, []byte) error { return nil }
		}, o)
		p := w.peer(o, "203.0.113.9", "203.0.113.9", fixed(5000))
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

// BenchmarkTake is the way of a packet, under each flood.
func BenchmarkTake(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		var list []*exchange.Operation
		for i := range n {
			list = append(list, operation(b, fmt.Sprintf("ssh-%05d", i), exchange.NATAware, false))
		}
		for _, name := range []string{"random", "requests"} {
			b.Run(fmt.Sprintf("%s/operations=%d", name, n), func(b *testing.B) {
				w := newWorld(b, func(c *Config) {
					c.Slots = DefaultSlots
					c.Answer = func(netip.AddrPort, netip.AddrPort, []byte) error { return nil }
				}, list...)
				// What makes the packets is not what is measured.
				type arrival struct{ from, to netip.AddrPort }
				var arrivals []arrival
				for range 1 << 16 {
					from := netip.AddrPortFrom(anyAddress(), 4000)
					arrivals = append(arrivals, arrival{from, netip.AddrPortFrom(server, plan.Ports.First+uint16(mrand.IntN(14336)))})
				}
				if name == "requests" {
					arrivals = arrivals[:0]
					for len(arrivals) < 1<<16 {
						p := w.peer(list[mrand.IntN(n)], "10.0.0.7", anyAddress().String(), fixed(4000))
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
					w.Take(a.from, a.to, now)
					i++
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pkts/s")
			})
		}
	}
}
