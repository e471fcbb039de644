package tunnel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"sallyport/sessions/client/carriers"
	"sallyport/sessions/syserror"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/tunnel"
)

const number carrier.Exchange = 4711

var ticket = [carrier.TicketSize]byte{1, 2, 3, 15: 16}

// world is a web server with TLS and HTTP/2, which accepts one ticket, and a proxy before
// it.
type world struct {
	t        *testing.T
	site     *httptest.Server
	proxy    *url.URL
	connects atomic.Int32
	serve    func(*tunnel.Conn)
	version  atomic.Value // of the request for a tunnel
}

func newWorld(t *testing.T, serve func(*tunnel.Conn)) *world {
	t.Helper()
	w := &world{t: t, serve: serve}
	w.site = httptest.NewUnstartedServer(http.HandlerFunc(w.answer))
	w.site.EnableHTTP2 = true
	w.site.StartTLS()
	proxy := httptest.NewServer(http.HandlerFunc(w.connect))
	t.Cleanup(w.site.Close)
	t.Cleanup(proxy.Close)
	var err error
	if w.proxy, err = url.Parse(proxy.URL); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) answer(rw http.ResponseWriter, r *http.Request) {
	var m carrier.Message
	reason := m.ParsePath(r.RequestURI)
	if got, ok := m.Ticket(); reason != carrier.Accepted || !ok || got != ticket || m.Exchange != number {
		http.NotFound(rw, r)
		return
	}
	w.version.Store(r.Proto)
	ws, err := websocket.Accept(rw, r, nil)
	if err != nil {
		w.t.Error(err)
		return
	}
	w.serve(tunnel.New(ws, nil, nil))
}

func (w *world) connect(rw http.ResponseWriter, r *http.Request) {
	up, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(rw, "", http.StatusBadGateway)
		return
	}
	w.connects.Add(1)
	down, _, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		w.t.Error(err)
		return
	}
	io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		io.Copy(up, down)
		up.Close()
	}()
	io.Copy(down, up)
	down.Close()
}

// way returns an HTTP that has carried an exchange.
func (w *world) way(proxied bool) *carriers.HTTP {
	w.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(w.site.Certificate())
	h, err := carriers.NewHTTP(carriers.HTTPConfig{URL: w.site.URL + "/login", Roots: roots, Proxy: func(*url.URL) (*url.URL, error) {
		if proxied {
			return w.proxy, nil
		}
		return nil, nil
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	// The exchange went over HTTP/2.
	r, err := h.Client().Get(w.site.URL)
	if err != nil || r.ProtoMajor != 2 {
		w.t.Fatalf("%+v, %v", r, err)
	}
	r.Body.Close()
	return h
}

func (w *world) dial(proxied bool, x carrier.Exchange) (*Stream, error) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel() // which must not end the stream
	c, err := Dialer{}.DialService(ctx, w.way(proxied), x, ticket)
	if err != nil {
		return nil, err
	}
	s := c.(*Stream)
	w.t.Cleanup(s.Abort)
	return s, nil
}

func echo(c *tunnel.Conn) {
	io.Copy(c, c)
	c.Close()
}

// TestDialService carries a stream by HTTP/1.1 over the connections that the exchange may
// use, with and without a proxy.
func TestDialService(t *testing.T) {
	for name, proxied := range map[string]bool{"directly": false, "by a proxy": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, echo)
			c, err := w.dial(proxied, number)
			if err != nil {
				t.Fatal(err)
			}
			sent := sha256.New()
			go func() {
				io.Copy(io.MultiWriter(c, sent), io.LimitReader(rand.NewChaCha8([32]byte{}), 5<<20))
				c.CloseWrite()
			}()
			got := sha256.New()
			n, err := io.Copy(got, c)
			if err != nil || n != 5<<20 || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
				t.Errorf("%d bytes, %v", n, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if v := w.version.Load(); v != "HTTP/1.1" || w.connects.Load() > 0 != proxied {
				t.Errorf("%v, %d connections of the proxy", v, w.connects.Load())
			}
			if at := c.RemoteAddr().String(); !strings.HasSuffix(w.site.URL, "//"+at) {
				t.Errorf("at %s", at)
			}
		})
	}
}

// TestRefused: the error has the status, and neither the path nor the ticket.
func TestRefused(t *testing.T) {
	w := newWorld(t, echo)
	_, err := w.dial(false, number+1)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Status != http.StatusNotFound || refused.Hint() == "" {
		t.Fatalf("%v", err)
	}
	if strings.Contains(err.Error(), ".html") || strings.Contains(err.Error(), "4712") {
		t.Errorf("%v", err)
	}
	way := w.way(false)
	w.site.Close()
	way.Close()
	_, err = Dialer{}.DialService(t.Context(), way, number, ticket)
	if !errors.As(err, &refused) || refused.Status != 0 || strings.Contains(err.Error(), ".html") || !syserror.Refused.In(err) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Dialer{}).DialService(ctx, way, number, ticket); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestClose: with SetLinger(0) the service sees a reset, without it an end of file.
func TestClose(t *testing.T) {
	for name, reset := range map[string]bool{"in order": false, "reset": true} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			w := newWorld(t, func(c *tunnel.Conn) {
				_, err := io.Copy(io.Discard, c)
				ended <- err
				c.Close()
			})
			c, err := w.dial(false, number)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, "some")
			if reset {
				c.SetLinger(0)
			}
			c.Close()
			if err := <-ended; (err != nil) != reset {
				t.Errorf("the service got %v", err)
			}
		})
	}
}
