package carriers

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TestCloseEndsConnections: after Close, no connection is left, by HTTP/1 and 2, whether
// the server has answered, answers too much, or is silent.
func TestCloseEndsConnections(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"a challenge": challenger(http.MethodPost, http.NotFound),
		"GET only":    challenger(http.MethodGet, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
		"long page":   func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) },
	} {
		for _, http2 := range []bool{false, true} {
			var open sync.WaitGroup
			s := httptest.NewUnstartedServer(answer)
			s.EnableHTTP2, s.Config.ErrorLog = http2, log.New(io.Discard, "", 0)
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					open.Add(1)
				case http.StateClosed:
					open.Done()
				}
			}
			s.StartTLS()
			roots := x509.NewCertPool()
			roots.AddCert(s.Certificate())
			for range 5 {
				h, err := NewHTTP(HTTPConfig{URL: s.URL, Roots: roots, Proxy: noProxy, Pause: soon})
				if err != nil {
					t.Fatal(err)
				}
				h.Request(t.Context(), testMessage(t), always)
				h.Respond(t.Context(), testMessage(t))
				h.Close()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			done := make(chan struct{})
			go func() { open.Wait(); close(done) }()
			select {
			case <-done:
			case <-ctx.Done():
				t.Errorf("%s, HTTP/2 %t: connections are left", name, http2)
			}
			cancel()
			s.CloseClientConnections()
			s.Close()
		}
	}
}
