package carriers

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"sallyport/verify/challenge/carrier"
)

func testMessage(t *testing.T) *carrier.Message {
	t.Helper()
	m, err := carrier.New(carrier.RequestConnection, 5, []byte("open-it"))
	if err != nil {
		t.Fatal(err)
	}
	return &m
}

// never accepts no challenge.
func never([]byte) bool { return false }

// TestErrorsHaveNoSecrets: neither a message, which a path contains, nor the password of a
// proxy.
func TestErrorsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	_, err := NewHTTP(HTTPConfig{URL: "https://www.example.org", Proxy: func(*url.URL) (*url.URL, error) {
		return nil, errors.New("http://user:hunter2@proxy: not a proxy")
	}})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a proxy: %v", err)
	}
	// The server ends each connection, that of the GET last.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		c.Close()
	}))
	defer s.Close()
	h, err := NewHTTP(HTTPConfig{URL: s.URL, Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	err = h.Request(t.Context(), testMessage(t), never)
	var fault *Fault
	if !errors.As(err, &fault) || fault.Cause != Unreachable || strings.Contains(err.Error(), ".html") {
		t.Errorf("a path: %v", err)
	}
}

// TestDialsKnownAddresses: the client reaches the server without a resolver, by an address
// of the family that the server must see.
func TestDialsKnownAddresses(t *testing.T) {
	t.Parallel()
	var from string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { from = r.RemoteAddr }))
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cfg := HTTPConfig{URL: "http://localhost:" + port, Network: "tcp4", Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }}
	cfg.Addresses = append(cfg.Addresses, netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1"))
	h, err := NewHTTP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Request(t.Context(), testMessage(t), never); err == nil || !strings.HasPrefix(from, "127.0.0.1:") {
		t.Errorf("from %q, %v", from, err)
	}
}
