package client

import (
	"crypto/rand"
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/bench/netns"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// falseChallenge is a challenge of the right form and length, without a signature.
func falseChallenge(o *exchange.Operation, v6 bool) []byte { return make([]byte, o.ChallengeSize(v6)) }

// TestBehindNAT64: where a NAT64 leads to the server, it sees an IPv4 address, which the
// client does not know; and the client reaches it over IPv6.
func TestBehindNAT64(t *testing.T) {
	t.Parallel()
	x := &exchanging{by: CarrierHTTPS, cfg: ExchangeConfig{
		Server: "gate.example", Challenge: Challenge{Operation: newOperation(t, exchange.NATAware, false), HTTPS: "https://gate.example"},
		Random: rand.Reader, Proxy: func(*url.URL) (*url.URL, error) { return nil, nil },
	}}
	for at, want := range map[string]struct {
		kind         carrier.Kind
		server, self string
	}{
		"64:ff9b::203.0.113.5": {carrier.Request4, "203.0.113.5", "0.0.0.0"},
		"2001:db8::1":          {carrier.Request6, "2001:db8::1", ""}, // this host may have no IPv6
		"127.0.0.1":            {carrier.Request4, "127.0.0.1", "127.0.0.1"},
	} {
		server := netip.MustParseAddr(at)
		s, err := x.newCarried(t.Context(), server)
		if err != nil {
			t.Fatal(err)
		}
		got, self := s.peer(server).String(), s.address().String()
		if s.kind != want.kind || got != want.server || want.self != "" && self != want.self {
			t.Errorf("%s: kind %s, server %s, self %s", at, s.kind, got, self)
		}
		s.Close()
	}
}

// TestFalseChallenge: something between the client and the server answers one way with a
// challenge of the right form that is not authentic. The client goes on to the next way, in
// the same attempt.
func TestFalseChallenge(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.Mutual, true)
	r := newResponders(t, o, carrier.DNS, testZone)
	r.opens = "127.0.0.1:30000"
	lie := string(carrier.AppendText(nil, falseChallenge(o, true)))
	cfg := dnsExchange(o, fakeResolver(t, dnsmessage.RCodeSuccess, lie), r.serveDNS(false).String())
	got, err := Exchange(t.Context(), cfg)
	if err != nil || got.Attempts != 1 || len(r.proved()) != 1 {
		t.Fatalf("a resolver: %+v, %v", got, err)
	}
	got.Conn.Close()

	o = newOperation(t, exchange.Mutual, false)
	r = newResponders(t, o, carrier.HTTP, "127.0.0.1")
	r.opens = "127.0.0.1:8080"
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"a false challenge": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", carrier.PageType)
			w.Write(carrier.AppendPage(nil, falseChallenge(o, false)))
		},
		"a page":       func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<!DOCTYPE html>welcome")) },
		"no such page": http.NotFound,
		"a redirect":   func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, "/login", http.StatusFound) },
		"no gateway":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"a reset":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		s := r.serve(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if q.Method == http.MethodPost {
					answer(w, q)
					return
				}
				h.ServeHTTP(w, q)
			})
		})
		proofs := len(r.proved())
		got, err := Exchange(t.Context(), carriedConfig(o, s))
		if err != nil || got.Attempts != 1 || len(r.proved()) != proofs+1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
