package page

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sallyport/ingest/web"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

const (
	testID     = "ssh-alice-"
	testSecret = "correct horse battery staple"
	testPort   = 4711
)

var public4, public6 = netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")

// server receives exchanges over HTTPS, for one operation.
type server struct {
	*httptest.Server
	operation *exchange.Operation

	mu       sync.Mutex
	waiting  map[carrier.Exchange]*waiting
	proofs   []exchange.Proof
	requests []carrier.Kind
	silent   bool // as for an operation that is used up
}

type waiting struct {
	request, challenge []byte
	pending            exchange.Pending
}

// newServer starts a server at a loopback address, whose site is that of all others.
func newServer(t *testing.T, address string, a exchange.Algorithm, randomPort bool, site http.HandlerFunc) *server {
	t.Helper()
	o, err := exchange.NewOperation(testID, testSecret, a, randomPort)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{operation: o, waiting: map[carrier.Exchange]*waiting{}}
	h, err := web.NewHTTP(web.HTTPConfig{Site: site, Exchanges: s})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: h}, EnableHTTP2: true}
	s.TLS = &tls.Config{}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// url is the server's, for a host that the browser's resolver knows.
func (s *server) url(host string) string {
	return fmt.Sprintf("https://%s:%d", host, s.Listener.Addr().(*net.TCPAddr).Port)
}

func (s *server) Request(dst []byte, m *carrier.Message, client netip.Addr, _ time.Time) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, m.Kind)
	if w := s.waiting[m.Exchange]; w != nil || s.silent {
		return dst, false
	}
	address := public4
	switch m.Kind {
	case carrier.Request6:
		address = public6
	case carrier.RequestConnection:
		client, address = carrier.ClientOf(m.Exchange), carrier.ServerOf(carrier.HTTP, "four.test")
	}
	r, err := exchange.ParseRequest(s.operation, m.Kind != carrier.Request4, m.Bytes())
	if err != nil {
		return dst, false
	}
	var port uint16
	if s.operation.RandomPort() {
		port = testPort
	}
	nonce := [exchange.NonceSize]byte{1, 2, byte(len(s.waiting))}
	challenge, pending, err := r.Challenge(nil, client, address, nonce, port)
	if err != nil {
		return dst, false
	}
	s.waiting[m.Exchange] = &waiting{bytes.Clone(m.Bytes()), challenge, pending}
	return append(dst, challenge...), true
}

func (s *server) Response(m *carrier.Message, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[m.Exchange]
	if w == nil {
		return
	}
	if p, ok := w.pending.Verify(m.Bytes()); ok {
		s.proofs = append(s.proofs, p)
	}
	w.pending = exchange.Pending{}
}

// proved returns the proofs, and how many requests came.
func (s *server) proved() (proofs []exchange.Proof, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proofs, len(s.requests)
}

func (s *server) setSilent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = true
}
