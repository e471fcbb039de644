package web

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/verify/challenge/carrier"
)

// recorder notes the clients of requests, and challenges all.
type recorder struct{ clients []netip.Addr }

func (r *recorder) Request(dst []byte, _ *carrier.Message, client netip.Addr, _ time.Time) ([]byte, bool) {
	r.clients = append(r.clients, client)
	return append(dst, 1), true
}

func (r *recorder) Response(*carrier.Message, time.Time) { r.clients = append(r.clients, netip.Addr{}) }

// TestKindsAndAddresses: a request for an address requires one of its family, and the
// other kinds have none.
func TestKindsAndAddresses(t *testing.T) {
	four, six, none := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7"), netip.Addr{}
	for _, test := range []struct {
		kind      carrier.Kind
		from      netip.Addr
		taken     bool
		client    netip.Addr
		challenge bool
	}{
		{carrier.Request4, four, true, four, true},
		{carrier.Request4, six, false, none, false},
		{carrier.Request4, none, false, none, false},
		{carrier.Request6, six, true, six, true},
		{carrier.Request6, four, false, none, false},
		{carrier.Request6, none, false, none, false},
		{carrier.RequestConnection, four, true, none, true},
		{carrier.RequestConnection, none, true, none, true},
		{carrier.Response, four, true, none, false},
		{carrier.Response, none, true, none, false},
	} {
		var e recorder
		var r receiver
		r.init(&e, assembliesHTTP)
		_, challenge := r.take(nil, message(t, test.kind, 5, []byte("a")), test.from, start)
		taken := len(e.clients) == 1
		if taken != test.taken || challenge != test.challenge || taken && e.clients[0] != test.client {
			t.Errorf("%s from %s: %v, a challenge: %t", test.kind, test.from, e.clients, challenge)
		}
	}
}
