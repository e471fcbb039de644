package client

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"sallyport/bench/netns"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// connectProxy is a proxy for CONNECT, which answers with a status.
func connectProxy(t *testing.T, status int) (*url.URL, *atomic.Int64) {
	t.Helper()
	var carried atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		carried.Add(1)
		from, read, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() { io.Copy(to, read); to.Close() }() // the server may have read the first byte
		io.Copy(from, to)
		from.Close()
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, &carried
}

// TestExchangeByProxy: through a proxy, the request has no address of the client, and one that
// requires a login, or refuses, becomes a reason.
func TestExchangeByProxy(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.NATAware, false)
	r := newResponders(t, o, carrier.HTTP, "127.0.0.1")
	r.opens = "127.0.0.1:8080"
	cfg := carriedConfig(o, r.serve(alone))
	cfg.Attempts = 1
	proxy, carried := connectProxy(t, http.StatusOK)
	cfg.Proxy = func(*url.URL) (*url.URL, error) { return proxy, nil }
	got, err := Exchange(t.Context(), cfg)
	if err != nil || !got.Watched || carried.Load() != 1 {
		t.Fatalf("%+v, %v, %d connections by the proxy", got, err, carried.Load())
	}
	// Algorithm 2 has ID_A in its request, at the end.
	for x, w := range r.waiting {
		if !slices.Equal(w.request[len(w.request)-4:], []byte{0, 0, 0, 0}) {
			t.Errorf("exchange %d: a request with an address: %x", x, w.request)
		}
	}
	for status, hint := range map[int]string{407: "requires a user and a password", 403: "does not permit connections"} {
		proxy, _ := connectProxy(t, status)
		cfg.Proxy = func(*url.URL) (*url.URL, error) { return proxy, nil }
		_, err := Exchange(t.Context(), cfg)
		var offline *OfflineError
		if !errors.As(err, &offline) || offline.Reason != ReasonProxy || !strings.Contains(offline.Hint(), hint) {
			t.Errorf("%d: %v, %+v", status, err, offline)
		}
	}
	encrypted := *proxy
	encrypted.Scheme = "https"
	cfg.Proxy = func(*url.URL) (*url.URL, error) { return &encrypted, nil }
	var offline *OfflineError
	_, err = Exchange(t.Context(), cfg)
	if !errors.As(err, &offline) || offline.Reason != ReasonProxy || !strings.Contains(offline.Hint(), "takes no TLS") {
		t.Errorf("a proxy without TLS: %v, %+v", err, offline)
	}
}
