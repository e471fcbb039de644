package web

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestNotFoundIsCaddys: the answers are those of Caddy with "respond 404" and without
// HTTP/3: as recorded, and as the Caddy of this host sends them, if it is installed.
func TestNotFoundIsCaddys(t *testing.T) {
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: NotFound})
	const (
		end  = "Connection: close\r\n\r\n"
		gone = "HTTP/1.1 404 Not Found\r\nServer: Caddy\r\nDate:\r\n"
	)
	recorded := map[string]string{
		"GET / HTTP/1.1\r\nHost: x\r\n" + end:                               gone + "Content-Length: 0\r\n" + end,
		"HEAD /a?b HTTP/1.1\r\nHost: x\r\n" + end:                           gone + end,
		"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + end + "ab": gone + "Content-Length: 0\r\n" + end,
		"GET / HTTP/1.0\r\n\r\n":                                            "HTTP/1.0 404 Not Found\r\nServer: Caddy\r\nDate:\r\nContent-Length: 0\r\n\r\n",
		"GET / HTTP/1.1\r\n" + end:                                          "HTTP/1.1 400 Bad Request: missing required Host header\r\nContent-Type: text/plain; charset=utf-8\r\n" + end + "400 Bad Request: missing required Host header",
	}
	for request, want := range recorded {
		if got := raw(t, at, request); got != want {
			t.Errorf("%q:\ngot  %q\nwant %q", request, got, want)
		}
	}
	t.Run("installed", func(t *testing.T) {
		caddy := startCaddy(t)
		for request, want := range recorded {
			if got := raw(t, caddy, request); got != want {
				t.Errorf("%q:\nCaddy sends %q\nrecorded:   %q", request, got, want)
			}
		}
	})
}

// startCaddy starts a Caddy with "respond 404", and returns its address.
func startCaddy(t *testing.T) (at string) {
	t.Helper()
	program, err := exec.LookPath("caddy")
	if err != nil {
		t.Skip("caddy is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at = l.Addr().String()
	l.Close()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	text := "{\nadmin off\nauto_https off\n}\nhttp://" + at + " {\nbind 127.0.0.1\nrespond 404\n}\n"
	text = strings.Replace(text, "http://127.0.0.1", "http://", 1) // any Host
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "run", "--adapter", "caddyfile", "--config", file)
	c.Env = append(os.Environ(), "HOME="+t.TempDir())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	for range 600 {
		if up, err := net.Dial("tcp", at); err == nil {
			up.Close()
			return at
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("Caddy does not listen")
	return ""
}

// TestProxyForwardsAddresses: the site gets the client's address, to which only a trusted
// proxy has added others.
func TestProxyForwardsAddresses(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := r.Header
		io.WriteString(w, r.Host+" "+h.Get(XForwardedFor)+" "+h.Get("X-Forwarded-Proto")+" "+h.Get(Forwarded))
	}))
	defer site.Close()
	u, _ := url.Parse(site.URL)
	const request = "GET / HTTP/1.0\r\nHost: www.example.org\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nForwarded: for=192.0.2.1\r\n\r\n"
	for want, trusted := range map[string]Proxies{
		"www.example.org 127.0.0.1 http ":                          {},
		"www.example.org 192.0.2.1, 127.0.0.1 https for=192.0.2.1": {Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Header: XForwardedFor},
	} {
		at := serveHTTP(t, "127.0.0.1:0", Server{Handler: Proxy(u, trusted, 8)})
		answer := raw(t, at, request)
		if got := answer[len(answer)-len(want):]; got != want {
			t.Errorf("got %q, want %q", answer, want)
		}
	}
}

// TestProxyStatesNoAddress: no header of a stranger states an address to the site, whatever
// proxy or CDN it is of, also in the form that CGI does not distinguish; all others pass.
// Those of a trusted proxy pass.
func TestProxyStatesNoAddress(t *testing.T) {
	states := []string{
		"X-Real-IP", "x-real-ip", "X_Real_IP", "X_Forwarded_For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Anything",
		"X-Original-Forwarded-For", "Forwarded", "CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Pseudo-IPv4", "True-Client-IP", "Fastly-Client-IP",
		"Fly-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "Client-IP", "X-Azure-ClientIP", "X-Remote-Addr", "X-Envoy-External-Address", "X-Vercel-Forwarded-For",
		"X-Appengine-User-IP", "Ali-CDN-Real-IP", "WL-Proxy-Client-IP",
	}
	passes := []string{"Accept", "X-Ship", "Cookie", "X-Requested-With", "Zip", "X-Ipsum"}
	heard := make(chan http.Header, 1)
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.Header }))
	defer site.Close()
	u, _ := url.Parse(site.URL)
	request := "GET / HTTP/1.0\r\nHost: x\r\n"
	for _, name := range append(states, passes...) {
		request += name + ": 192.0.2.1\r\n"
	}
	for _, trusted := range []bool{false, true} {
		var p Proxies
		if trusted {
			p = Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Header: XForwardedFor}
		}
		raw(t, serveHTTP(t, "127.0.0.1:0", Server{Handler: Proxy(u, p, 8)}), request+"\r\n")
		h := <-heard
		for _, name := range passes {
			if h.Get(name) != "192.0.2.1" {
				t.Errorf("%s: %q", name, h.Get(name))
			}
		}
		for _, name := range states {
			value := strings.Join(h.Values(name), ",")
			if strings.Contains(value, "192.0.2.1") != trusted {
				t.Errorf("trusted %t: %s: %q", trusted, name, value)
			}
		}
	}
}

// TestProxyQuery: the site gets the query as it was sent, also what net/url cannot parse.
func TestProxyQuery(t *testing.T) {
	heard := make(chan string, 1)
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.RequestURI }))
	defer site.Close()
	u, _ := url.Parse(site.URL)
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: Proxy(u, Proxies{}, 8)})
	for _, uri := range []string{"/a?b=1;c=2", "/?%zz", "//a//b?x", "/a%2Fb?q=%20"} {
		raw(t, at, "GET "+uri+" HTTP/1.0\r\n\r\n")
		if got := <-heard; got != uri {
			t.Errorf("%q reaches the site as %q", uri, got)
		}
	}
}

// TestProxyContinues: a client that waits for it gets 100 Continue once, whichever is faster:
// this server, or the site.
func TestProxyContinues(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	defer site.Close()
	u, _ := url.Parse(site.URL)
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: Proxy(u, Proxies{}, 8)})
	const request = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab"
	for range 20 {
		got := raw(t, at, request)
		if strings.Count(got, "100 Continue") != 1 || !strings.HasSuffix(got, "\r\n\r\nab") {
			t.Fatalf("%q", got)
		}
	}
}

// TestProxyUpgrades: no other upgrade than that to a WebSocket passes to the site.
func TestProxyUpgrades(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("Connection")+" "+r.Header.Get("Upgrade"))
	}))
	defer site.Close()
	u, _ := url.Parse(site.URL)
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: Proxy(u, Proxies{}, 8)})
	for upgrade, want := range map[string]string{"websocket": "Upgrade websocket", "WebSocket": "Upgrade WebSocket", "h2c": "\r\n ", "websocket, h2c": "\r\n "} {
		answer := raw(t, at, "GET / HTTP/1.0\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "+upgrade+"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
		if !strings.HasSuffix(answer, want) {
			t.Errorf("%s: got %q, want %q", upgrade, answer, want)
		}
	}
}

// TestProxyConnections: however many requests a client makes at once, the site has a bounded
// number of connections.
func TestProxyConnections(t *testing.T) {
	const most, requests = 2, 8
	var now, highest atomic.Int32
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := highest.Load(); n > old && !highest.CompareAndSwap(old, n); old = highest.Load() {
		}
		time.Sleep(20 * time.Millisecond)
	}))
	defer site.Close()
	u, _ := url.Parse(site.URL)
	c, _ := certificate(t, "127.0.0.1")
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: Proxy(u, Proxies{}, most), TLS: &tls.Config{Certificates: []tls.Certificate{c}}})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	var all sync.WaitGroup
	for range requests {
		all.Go(func() {
			r, err := client.Get("https://" + at)
			if err != nil {
				t.Error(err)
				return
			}
			r.Body.Close()
			if r.StatusCode != http.StatusOK {
				t.Errorf("status %d", r.StatusCode)
			}
		})
	}
	all.Wait()
	if got := highest.Load(); got > most {
		t.Errorf("%d at a time, want at most %d", got, most)
	}
}

// TestProxyWithoutSite: if the site does not answer, the request gets Caddy's 502.
func TestProxyWithoutSite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: Proxy(&url.URL{Scheme: "http", Host: l.Addr().String()}, Proxies{}, 8)})
	const want = "HTTP/1.1 502 Bad Gateway\r\nServer: Caddy\r\nDate:\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	if got := raw(t, at, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestRunEndsHijackedConnections: connections that the site has taken over, such as
// WebSockets, end with the server.
func TestRunEndsHijackedConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan net.Conn, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error)
	go func() {
		done <- Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := http.NewResponseController(w).Hijack()
			taken <- c
		})}.Run(ctx, l)
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-taken
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
}
