package web

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// TestShareOfASource: an address, or a /64, that knows an ID and sends many requests
// leaves challenges to others, and its responses still count.
func TestShareOfASource(t *testing.T) {
	for name, test := range map[string]struct {
		kind                  carrier.Kind
		self                  []byte
		first, second, others string
	}{
		"IPv4":         {carrier.Request4, []byte{127, 0, 0, 1}, "192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"},
		"IPv6":         {carrier.Request6, make([]byte, 16), "[2001:db8::1]:1", "[2001:db8::ffff:2]:1", "[2001:db8:0:1::1]:1"},
		"a connection": {carrier.RequestConnection, make([]byte, 16), "192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newResponders(netip.MustParseAddr("::1"), operation(t, exchange.NATAware, testID))
			if test.kind == carrier.Request6 {
				e.public = netip.MustParseAddr("::1")
			}
			now := start
			h := newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: e, Now: func() time.Time { return now }})
			x := carrier.Exchange(0)
			challenged := func(from string) bool {
				x++
				m := message(t, test.kind, x, append([]byte(testID), test.self...))
				r := httptest.NewRequest(http.MethodGet, string(m.AppendPath(nil, 0, m.Numbers())), nil)
				r.RemoteAddr = from
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w.Code == http.StatusOK
			}
			got := 0
			const atOnce = sourceChallenges / 10
			for i := range 1000 {
				if i == 500 {
					if got < atOnce || got > 2*atOnce {
						t.Errorf("the source got %d challenges at once, want %d to %d", got, atOnce, 2*atOnce)
					}
				}
				if i >= 500 {
					now = now.Add(time.Second / 500)
				}
				from := test.first
				if i%2 == 1 {
					from = test.second
				}
				if challenged(from) {
					got++
				}
			}
			if least, most := sourceChallenges, 2*(sourceChallenges+atOnce); got < least || got > most {
				t.Errorf("the source got %d challenges in a second, want %d to %d", got, least, most)
			}
			if !challenged(test.others) {
				t.Error("another source got none")
			}
			if got := h.Stats().Limited + h.Stats().Challenges; got != 1001 {
				t.Errorf("%d requests are counted, want 1001", got)
			}
			if len(e.waiting) != int(h.Stats().Challenges) {
				t.Errorf("%d challenges were drawn, %d sent", len(e.waiting), h.Stats().Challenges)
			}
		})
	}
}

// TestSharesOfManySources: sources that flood leave room to nearly all others.
func TestSharesOfManySources(t *testing.T) {
	s := newShares(sourceChallenges)
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	for i := range 200 {
		for range 4 * sourceChallenges {
			s.take(address(i), start)
		}
	}
	lost := 0
	for i := range 1000 {
		if !s.take(address(1000+i), start) {
			lost++
		}
	}
	if lost > 50 { // about 1 %
		t.Errorf("%d of 1000 sources lost their share", lost)
	}
}
