package carried

import (
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// TestRefusingAllocatesNothing: messages that draw no new challenge make no garbage.
func TestRefusingAllocatesNothing(t *testing.T) {
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		o := newOperation(t, "ssh-alice", a, true)
		h := newHarness(t, func(c *Config) { c.Rate = 1 }, o)
		repeated, limited := h.client(o, carrier.RequestConnection, 1), h.client(o, carrier.RequestConnection, 2)
		repeated.ask()
		for {
			limited.request.Exchange++
			if _, ok := limited.ask(); !ok {
				break
			}
		}
		other := *repeated.request
		other.Kind = carrier.Request6
		unknown := h.message(carrier.Request4, 9, make([]byte, exchange.MaxSignedRequest))
		mapped := append([]byte("ssh-alice"), make([]byte, 16)...)
		copy(mapped[9+10:], []byte{0xff, 0xff, 1, 2, 3, 4})
		toMapped := h.message(carrier.Request6, 9, mapped)
		dst := make([]byte, 0, carrier.MaxChallenge)
		for what, call := range map[string]func(){
			"unknown":     func() { h.web.Request(dst, unknown, victim, h.now) },
			"mapped":      func() { h.web.Request(dst, toMapped, victim6, h.now) },
			"conflicting": func() { h.web.Request(dst, &other, victim6, h.now) },
			"repeated":    func() { h.web.Request(dst, repeated.request, repeated.address, h.now) },
			"limited":     func() { h.web.Request(dst, limited.request, limited.address, h.now) },
			"response":    func() { h.web.Response(unknown, h.now) },
			"ticket":      func() { h.Take(1, [exchange.TicketSize]byte{}, h.now) },
		} {
			if n := testing.AllocsPerRun(100, call); n != 0 {
				t.Errorf("algorithm %d, %s: %v allocations", a, what, n)
			}
		}
	}
}

// BenchmarkRequest measures requests of several goroutines: for no operation, repeated,
// beyond the rate, and new ones at a full table that give way to each other.
func BenchmarkRequest(b *testing.B) {
	for _, operations := range []int{1, exchange.MaxOperations} {
		var list []*exchange.Operation
		for i := range operations {
			list = append(list, newOperation(b, fmt.Sprintf("ssh-%03d", i), exchange.NATAware, false))
		}
		for _, what := range []string{"unknown", "repeated", "limited", "new"} {
			b.Run(fmt.Sprintf("operations=%d/%s", operations, what), func(b *testing.B) {
				h := newHarness(b, func(c *Config) { c.Slots = DefaultSlots; c.Random = rand.Reader }, list...)
				c := h.client(list[0], carrier.RequestConnection, 1)
				c.ask()
				var n atomic.Uint64
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					dst, m := make([]byte, 0, carrier.MaxChallenge), *c.request
					if what == "unknown" {
						m = *h.message(m.Kind, 1, make([]byte, len(m.Bytes())))
					}
					for pb.Next() {
						now := h.now
						if what == "new" || what == "limited" {
							m.Exchange = carrier.Exchange(n.Add(1) + 1)
						}
						if what == "new" { // the rate permits it
							now = now.Add(time.Duration(m.Exchange) * time.Millisecond)
						}
						h.web.Request(dst, &m, c.address, now)
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			})
		}
	}
}
