package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/ingest/web/webtest"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/challenge/tunnel"
)

// files writes the pages of a site.
func files(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"index.html": "the site", "404.html": "404: not here", "123/456.html": "a page with a number",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// recipes is the directory of the recipes.
const recipes = "../../container"

// upstream runs a listener for a reverse proxy, and returns its address.
func upstream(t *testing.T, e *responders, s *tickets) string {
	t.Helper()
	return serveHTTP(t, "127.0.0.1:0", Server{Handler: newHTTP(t, HTTPConfig{
		Unproved: http.StatusMisdirectedRequest, Exchanges: e, Tunnels: s,
		Proxies: Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Header: XForwardedFor},
	})})
}

// front is a reverse proxy that has a site.
type front struct {
	start func(t *testing.T, plain bool, upstream string) (at string) // returns its address
	tls   *tls.Config                                                 // nil: without TLS
	form  string                                                      // a path that takes forms; "": none
	early bool                                                        // it answers before the body of a GET has arrived
}

// dial connects to the proxy from another address than the proxy's.
func (f front) dial(at string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}
	if f.tls == nil {
		return d.Dial("tcp", at)
	}
	return tls.DialWithDialer(&d, "tcp", at, f.tls)
}

// raw sends a request as it is, and returns the answer without its date.
func (f front) raw(t *testing.T, at, request string) string {
	t.Helper()
	c, err := f.dial(at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	// Some servers reset a connection if they do not read the whole body.
	b, _ := io.ReadAll(c)
	return date.ReplaceAllString(string(b), "Date:")
}

// answersEarly reports whether the proxy answers requests for a page with a number, over
// HTTP/1.1 and HTTP/2, whose bodies never come.
func (f front) answersEarly(t *testing.T, at string) bool {
	t.Helper()
	begins := func(c net.Conn, request string, answer func([]byte) bool) bool {
		defer c.Close()
		c.SetDeadline(time.Now().Add(readFormTime / 2)) // less than any server waits for a body
		io.WriteString(c, request)
		var b [4096]byte
		for n := 0; n < len(b); {
			more, err := c.Read(b[n:])
			if n += more; answer(b[:n]) {
				return true
			}
			if err != nil {
				return false
			}
		}
		return false
	}
	c, err := f.dial(at)
	if err != nil {
		t.Fatal(err)
	}
	one := begins(c, "GET /123/456.html HTTP/1.1\r\nHost: "+testHost+"\r\nContent-Length: 9\r\n\r\n", func(b []byte) bool {
		return bytes.HasPrefix(b, []byte("HTTP/1.1 200"))
	})
	a := newAttacker(t, at)
	if err := a.frame(frameHeaders, endHeaders, 1, "\x82\x04\x0d/123/456.html\x87\x01\x0f"+testHost); err != nil {
		t.Fatal(err)
	}
	return one && begins(a.conn, "", func(b []byte) bool {
		for len(b) >= 9 {
			size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
			if b[3] == frameHeaders {
				return true
			}
			b = b[min(len(b), 9+size):]
		}
		return false
	})
}

// testFront: a stranger gets the same bytes from the proxy alone, from one before a
// server with operations, and from one whose server is down; and exchanges work.
func testFront(t *testing.T, f front) {
	o := operation(t, exchange.NATAware, testID)
	e := newResponders(netip.Addr{}, o)
	plain := f.start(t, true, webtest.Closed(t))
	s := newTickets(echo, 1)
	with := f.start(t, false, upstream(t, e, s))
	down := f.start(t, false, webtest.Closed(t))

	paths := append(strangersRequests(t, o), get("/123/456.html", "If-None-Match: *\r\n"), get("/123/456.html", "Range: bytes=2-3\r\n"),
		get("/123/456.html", "Upgrade: websocket\r\n", "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
		get(ticketPath(t, 0, 9), upgradeHeaders), get(ticketPath(t, 0, 0)))
	var requests []string
	for _, r := range paths {
		if strings.HasSuffix(r, cut) || strings.Contains(r, " http://") {
			continue // the programs in front pass neither on as it is
		}
		requests = append(requests, r)
		if f.form != "" && strings.Contains(r, "/login") {
			requests = append(requests, strings.Replace(r, "/login", f.form, 1))
		}
	}
	for _, request := range requests {
		want := f.raw(t, plain, request)
		if want == "" {
			t.Errorf("no answer to %q", request)
		}
		for name, at := range map[string]string{"with": with, "down": down} {
			if got := f.raw(t, at, request); got != want {
				t.Errorf("%s, %q\ngot  %q\nwant %q", name, request, got, want)
			}
		}
	}
	if len(e.waiting) > 0 {
		t.Errorf("%d requests were challenged", len(e.waiting))
	}

	if f.early {
		for name, at := range map[string]string{"plain": plain, "with": with} {
			if !f.answersEarly(t, at) {
				t.Errorf("%s: the answer to a GET waits for its body", name)
			}
		}
	}

	fetch := func(method, path, body string) []byte {
		request := get(path, "X-Forwarded-For: 198.51.100.9\r\n") // of the client's choice
		if method == http.MethodPost {
			request = strings.Replace(post(body), "/login", path, 1)
		}
		answer := f.raw(t, with, request)
		if answer == f.raw(t, plain, request) {
			return []byte("404: as to a stranger")
		}
		_, page, _ := strings.Cut(answer, "\r\n\r\n")
		return []byte(page)
	}
	runHTTPExchange(t, e, o, 1005, "127.0.0.2", func(m *carrier.Message) []byte {
		return fetch(http.MethodGet, string(m.AppendPath(nil, 0, m.Numbers())), "")
	})
	if f.form != "" {
		runHTTPExchange(t, e, o, 1006, "127.0.0.2", func(m *carrier.Message) []byte {
			return fetch(http.MethodPost, f.form, string(m.AppendForm(nil)))
		})
	}
	f.carry(t, with, s)
}

// carry carries a tunnel through the proxy: each byte arrives before the next one is sent,
// and then many do. The server learns the client's address.
func (f front) carry(t *testing.T, at string, s *tickets) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	transport := &http.Transport{TLSClientConfig: f.tls, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, at)
	}}
	origin := "ws://" + net.JoinHostPort(testHost, at[strings.LastIndexByte(at, ':')+1:])
	if f.tls != nil {
		origin = "wss://" + at
	}
	c, err := dialTunnel(t, origin, 0, transport)
	if err != nil {
		t.Fatal(err)
	}
	for i := range byte(3) {
		var got [1]byte
		if _, err := c.Write([]byte{i}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got[:]); err != nil || got[0] != i {
			t.Fatalf("got %d, %v", got, err)
		}
	}
	carryStream(t, c, 4<<20)
	if want := netip.MustParseAddr("127.0.0.2"); s.client != want {
		t.Errorf("the client of the tunnel is %s", s.client)
	}
}

// TestNginxInFront runs the recipe of nginx.
func TestNginxInFront(t *testing.T) {
	c, file := certificate(t, "127.0.0.1")
	app := serveHTTP(t, "127.0.0.1:0", Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %q %v %q", r.Method, r.RequestURI, body, err, r.Header.Get("Content-Type"))
	})})
	site := webtest.Front{Recipes: recipes, Root: files(t), App: app, Cert: file, Key: webtest.KeyFile(t, c.PrivateKey)}
	trusted := trusting(t, file)
	trusted.ServerName = "127.0.0.1"
	testFront(t, front{tls: trusted, form: "/app/form", early: true, start: func(t *testing.T, plain bool, upstream string) string {
		site.Plain, site.Upstream = plain, upstream
		return site.Nginx(t).String()
	}})
}

// TestCaddyInFront runs the recipe of Caddy.
func TestCaddyInFront(t *testing.T) {
	site := webtest.Front{Recipes: recipes, Root: files(t), Host: testHost}
	testFront(t, front{start: func(t *testing.T, plain bool, upstream string) string {
		site.Plain, site.Upstream = plain, upstream
		return site.Caddy(t).String()
	}})
}

// TestTunnelsOutlastSilence: nginx ends a silent tunnel later than the two ends do, and
// much later than they send something.
func TestTunnelsOutlastSilence(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(recipes, "nginx-site.conf"))
	if err != nil {
		t.Fatal(err)
	}
	_, location, _ := bytes.Cut(text, []byte("location @tunnel {"))
	m := regexp.MustCompile(`proxy_read_timeout (\d+)s;`).FindSubmatch(location)
	if m == nil {
		t.Fatal("the tunnel has no time-out")
	}
	seconds, _ := strconv.Atoi(string(m[1]))
	if limit := time.Duration(seconds) * time.Second; limit < 2*tunnel.KeepaliveTime || limit < tunnel.SilentTime {
		t.Errorf("nginx ends a silent tunnel after %s", limit)
	}
}
