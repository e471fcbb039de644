package web

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/verify/challenge/carrier"
)

// queriesOf returns queries as of a flood: of strangers, and with a message.
func queriesOf(t testing.TB) map[string][]byte {
	t.Helper()
	m := message(t, carrier.RequestConnection, 5, append([]byte("ssh-bobby-"), make([]byte, 16)...))
	return map[string][]byte{
		"stranger":   asked{name: "www." + testZone, kind: dnsmessage.TypeA, edns: true, size: maxUDP}.pack(t),
		"unknown-id": asked{name: string(m.AppendLabel(nil, 0)) + "." + testZone, kind: dnsmessage.TypeTXT, edns: true, size: maxUDP}.pack(t),
	}
}

// silent knows no operation, and allocates nothing.
type silent struct{}

func (silent) Request(dst []byte, _ *carrier.Message, _ netip.Addr, _ time.Time) ([]byte, bool) {
	return dst, false
}
func (silent) Response(*carrier.Message, time.Time) {}

func BenchmarkAnswer(b *testing.B) {
	for name, query := range queriesOf(b) {
		for _, limited := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/limited=%t", name, limited), func(b *testing.B) {
				r := newResponder(b, silent{})
				if !limited {
					r.udp.strangers = newBudget(int(time.Second))
				}
				var s scratch
				var out []byte
				now := start
				b.ReportAllocs()
				for b.Loop() {
					if !limited {
						now = now.Add(time.Millisecond)
					}
					out = r.answer(&s, out[:0], query, false, now)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
			})
		}
	}
}
