package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/challenge/tunnel"
)

// tickets are Tunnels whose tickets are good once, to a service.
type tickets struct {
	serve func(net.Conn) // nil: each is refused

	mu     sync.Mutex
	good   map[carrier.Exchange][carrier.TicketSize]byte
	client netip.Addr // of the last one
}

func (s *tickets) Open(x carrier.Exchange, ticket [carrier.TicketSize]byte, client netip.Addr, now time.Time) (func(net.Conn) string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	want, ok := s.good[x]
	if !ok || subtle.ConstantTimeCompare(want[:], ticket[:]) == 0 {
		return nil, false
	}
	delete(s.good, x)
	s.client = client
	return func(c net.Conn) string {
		if s.serve == nil {
			return TooManyTunnels
		}
		s.serve(c)
		return ""
	}, true
}

func newTickets(serve func(net.Conn), n int) *tickets {
	s := &tickets{serve: serve, good: map[carrier.Exchange][carrier.TicketSize]byte{}}
	for x := range n {
		s.good[carrier.Exchange(x)] = [carrier.TicketSize]byte{byte(x), 1}
	}
	return s
}

// ticketPath is the path of a tunnel of newTickets.
func ticketPath(t testing.TB, x carrier.Exchange, more byte) string {
	t.Helper()
	m, err := carrier.NewTicket(x, [carrier.TicketSize]byte{byte(x), 1, more})
	if err != nil {
		t.Fatal(err)
	}
	return string(m.AppendPath(nil, 0, m.Numbers()))
}

// echo answers with the same bytes, and ends after its peer.
func echo(c net.Conn) {
	io.Copy(c, c)
	c.Close()
}

// dialTunnel opens a tunnel with an exchange's ticket.
func dialTunnel(t testing.TB, at string, x carrier.Exchange, transport *http.Transport) (*tunnel.Conn, error) {
	t.Helper()
	t.Cleanup(transport.CloseIdleConnections)
	ws, _, err := websocket.Dial(t.Context(), at+ticketPath(t, x, 0), &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, err
	}
	c := tunnel.New(ws, nil, nil)
	t.Cleanup(c.Abort)
	return c, nil
}

// carryStream sends a stream through an echo, and checks that it comes back.
func carryStream(t *testing.T, c *tunnel.Conn, size int64) {
	t.Helper()
	sent := sha256.New()
	go func() {
		r := io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
		if _, err := io.Copy(io.MultiWriter(c, sent), r); err != nil {
			t.Error(err)
		}
		c.CloseWrite()
	}()
	got := sha256.New()
	n, err := io.Copy(got, c)
	if err != nil || n != size || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Errorf("%d bytes of %d, %v", n, size, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestTunnel carries a large stream over TLS, and closes each direction alone.
func TestTunnel(t *testing.T) {
	s := newTickets(echo, 1)
	c, file := certificate(t, "127.0.0.1")
	at := serveHTTP(t, "127.0.0.1:0", Server{
		TLS:     &tls.Config{Certificates: []tls.Certificate{c}},
		Handler: newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{}), Tunnels: s}),
	})
	client, err := dialTunnel(t, "wss://"+at, 0, &http.Transport{TLSClientConfig: trusting(t, file)})
	if err != nil {
		t.Fatal(err)
	}
	carryStream(t, client, 100<<20)
	if want := netip.MustParseAddr("127.0.0.1"); s.client != want {
		t.Errorf("the client is %s", s.client)
	}
}

// trusting returns the configuration of a client that trusts a certificate.
func trusting(t testing.TB, file string) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(file)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(b) {
		t.Fatal("no certificate", err)
	}
	return &tls.Config{RootCAs: roots}
}

const upgradeHeaders = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// TestTunnelAnswersStrangers: all but a right ticket in a whole upgrade gets the bytes
// that the site sends by itself, and uses no ticket up.
func TestTunnelAnswersStrangers(t *testing.T) {
	good := ticketPath(t, 1, 0)
	without := func(line string) string { return strings.Replace(upgradeHeaders, line+"\r\n", "", 1) }
	requests := map[string]string{
		"a wrong ticket":      get(ticketPath(t, 1, 9), upgradeHeaders),
		"another exchange":    get(ticketPath(t, 7, 0), upgradeHeaders),
		"none":                get("/", upgradeHeaders),
		"a page":              get("/123/456.html", upgradeHeaders),
		"no upgrade":          get(good),
		"a query":             get(good+"?", upgradeHeaders),
		"no header Upgrade":   get(good, without("Upgrade: websocket")),
		"no Connection":       get(good, without("Connection: Upgrade")),
		"another version":     get(good, strings.Replace(upgradeHeaders, "13", "12", 1)),
		"no key":              get(good, without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
		"a short key":         get(good, strings.Replace(upgradeHeaders, "dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 1)),
		"two keys":            get(good, upgradeHeaders, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
		"a body":              get(good, upgradeHeaders, "Content-Length: 1\r\n") + "a",
		"another method":      strings.Replace(get(good, upgradeHeaders), "GET", "PUT", 1),
		"a used ticket":       get(ticketPath(t, 0, 0), upgradeHeaders),
		"a version before it": strings.Replace(get(good, upgradeHeaders), "HTTP/1.1", "HTTP/1.0", 1),
	}
	for name, site := range sites(t) {
		t.Run(name, func(t *testing.T) {
			s := newTickets(echo, 2)
			h := newHTTP(t, HTTPConfig{Site: site, Exchanges: newResponders(netip.Addr{}), Tunnels: s})
			alone, at := serveHTTP(t, "127.0.0.1:0", Server{Handler: site}), serveHTTP(t, "127.0.0.1:0", Server{Handler: h})
			first, err := dialTunnel(t, "ws://"+at, 0, &http.Transport{})
			if err != nil {
				t.Fatal(err)
			}
			for what, request := range requests {
				if got, want := raw(t, at, request), raw(t, alone, request); got != want || want == "" {
					t.Errorf("%s: %q\ngot  %q\nwant %q", what, request, got, want)
				}
			}
			if st := h.Stats().Tunnels; st.Open != 1 || st.Accepted != 1 || st.Rejected != 3 {
				t.Errorf("%+v", st)
			}
			carryStream(t, first, 1)
			second, err := dialTunnel(t, "ws://"+at, 1, &http.Transport{})
			if err != nil {
				t.Fatalf("a ticket was used up: %v", err)
			}
			carryStream(t, second, 1)
		})
	}
}

// TestTunnelsAreBounded: beyond the share of an address, a client learns why it is
// refused; and there is room again after a tunnel has ended.
func TestTunnelsAreBounded(t *testing.T) {
	ended := make(chan bool, 10)
	s := newTickets(func(c net.Conn) {
		echo(c)
		ended <- true
	}, 4)
	h := newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{}), Tunnels: s, MaxTunnels: 2 * tunnelShare})
	at := "ws://" + serveHTTP(t, "127.0.0.1:0", Server{Handler: h})
	var open []*tunnel.Conn
	for x := range carrier.Exchange(3) {
		c, err := dialTunnel(t, at, x, &http.Transport{})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		if x < 2 { // it has begun
			io.WriteString(c, "a")
			io.ReadFull(c, make([]byte, 1))
		}
	}
	_, err := open[2].Read(make([]byte, 1))
	if !errors.Is(err, syscall.ECONNRESET) || !strings.Contains(err.Error(), "too many tunnels") {
		t.Errorf("%v", err)
	}
	open[0].Close()
	<-ended
	for h.Stats().Tunnels.Open > 1 {
		time.Sleep(time.Millisecond)
	}
	c, err := dialTunnel(t, at, 3, &http.Transport{})
	if err != nil {
		t.Fatal(err)
	}
	carryStream(t, c, 10)
	if st := h.Stats().Tunnels; st.Accepted != 3 || st.Full != 1 {
		t.Errorf("%+v", st)
	}
}

// TestRefusedTunnelsHaveNoPlace: a client that does not answer to the refusal of its tunnel
// keeps no place of a tunnel, nor a connection that others need.
func TestRefusedTunnelsHaveNoPlace(t *testing.T) {
	s := newTickets(nil, 3)
	h := newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{}), Tunnels: s, MaxTunnels: 1})
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: h, Connections: 2})
	for x := range carrier.Exchange(3) {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(c, "GET "+ticketPath(t, x, 0)+" HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+strings.Repeat("A", 22)+"==\r\n\r\n")
		r := bufio.NewReader(c)
		if answer, err := http.ReadResponse(r, nil); err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("tunnel %d: %v", x, err)
		}
		if frame, err := r.Peek(2); err != nil || frame[0] != 0x88 {
			t.Fatalf("tunnel %d: %x, %v, want a Close frame", x, frame, err)
		}
		if st := h.Stats().Tunnels; st.Open != 0 || st.Full != 0 {
			t.Errorf("tunnel %d: %+v", x, st)
		}
	}
}

// TestServerEndsTunnels: a server that stops ends its tunnels, which is no end of file.
func TestServerEndsTunnels(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan bool)
	s := newTickets(func(c net.Conn) {
		echo(c)
		close(served)
	}, 1)
	done := make(chan error)
	go func() {
		done <- Server{Handler: newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{}), Tunnels: s})}.Run(ctx, l)
	}()
	c, err := dialTunnel(t, "ws://"+l.Addr().String(), 0, &http.Transport{})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "a")
	io.ReadFull(c, make([]byte, 1))
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
	<-served
}

// TestTunnelThroughNginx: a reverse proxy passes a tunnel on, and shows the client's
// address. One that strips the upgrade gets the site's answer, and the ticket stays good.
func TestTunnelThroughNginx(t *testing.T) {
	const nginx = "/usr/sbin/nginx"
	if _, err := os.Stat(nginx); err != nil {
		t.Skip("needs nginx")
	}
	s := newTickets(echo, 1)
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: newHTTP(t, HTTPConfig{
		Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{}), Tunnels: s,
		Proxies: Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Header: XForwardedFor},
	})})
	stripped := raw(t, at, get(ticketPath(t, 0, 0), "X-Forwarded-For: 127.0.0.2\r\n"))
	if !strings.HasPrefix(stripped, "HTTP/1.1 404") {
		t.Errorf("%q", stripped)
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := dialTunnel(t, "ws://"+startNginx(t, nginx, at), 0, &http.Transport{DialContext: dialer.DialContext})
	if err != nil {
		t.Fatal(err)
	}
	carryStream(t, c, 10<<20)
	if want := netip.MustParseAddr("127.0.0.2"); s.client != want {
		t.Errorf("the client is %s", s.client)
	}
}

// TestTunnelThroughConnect: a proxy of the client's network, which knows CONNECT only.
func TestTunnelThroughConnect(t *testing.T) {
	s := newTickets(echo, 1)
	c, file := certificate(t, "127.0.0.1")
	at := serveHTTP(t, "127.0.0.1:0", Server{
		TLS:     &tls.Config{Certificates: []tls.Certificate{c}},
		Handler: newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{}), Tunnels: s}),
	})
	var connects atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up, err := net.Dial("tcp", r.Host)
		if err != nil || r.Method != http.MethodConnect {
			t.Errorf("%s %s: %v", r.Method, r.Host, err)
			return
		}
		connects.Add(1)
		down, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			io.Copy(up, buffered)
			up.Close()
		}()
		io.Copy(down, up)
		down.Close()
	}))
	defer proxy.Close()
	to, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := dialTunnel(t, "wss://"+at, 0, &http.Transport{TLSClientConfig: trusting(t, file), Proxy: http.ProxyURL(to)})
	if err != nil {
		t.Fatal(err)
	}
	carryStream(t, client, 10<<20)
	if connects.Load() != 1 {
		t.Errorf("%d connections through the proxy", connects.Load())
	}
}

// TestSizesOfTickets: both packages have one size.
func TestSizesOfTickets(t *testing.T) {
	if carrier.TicketSize != exchange.TicketSize {
		t.Error("the sizes differ")
	}
}

// BenchmarkTunnel compares a tunnel with the TLS connection below it.
func BenchmarkTunnel(b *testing.B) {
	c, file := certificate(b, "127.0.0.1")
	sink := func(c net.Conn) {
		io.Copy(io.Discard, c)
		c.Close()
	}
	send := func(b *testing.B, c net.Conn, end func() error) {
		block := make([]byte, 256<<10)
		b.SetBytes(int64(len(block)))
		for b.Loop() {
			if _, err := c.Write(block); err != nil {
				b.Fatal(err)
			}
		}
		if err := end(); err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, c)
	}
	b.Run("over=TLS", func(b *testing.B) {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c}})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				sink(c)
			}
		}()
		conn, err := tls.Dial("tcp", l.Addr().String(), trusting(b, file))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		send(b, conn, conn.CloseWrite)
	})
	b.Run("over=tunnel", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		h := newHTTP(b, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{}), Tunnels: newTickets(sink, 1)})
		go Server{TLS: &tls.Config{Certificates: []tls.Certificate{c}}, Handler: h}.Run(b.Context(), l)
		conn, err := dialTunnel(b, "wss://"+l.Addr().String(), 0, &http.Transport{TLSClientConfig: trusting(b, file)})
		if err != nil {
			b.Fatal(err)
		}
		send(b, conn, conn.CloseWrite)
	})
}
