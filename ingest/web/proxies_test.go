package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestClient: the client is the nearest address that is not a trusted proxy, whatever a
// client has written into the header itself.
func TestClient(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	x, f := Proxies{Trusted: trusted, Header: XForwardedFor}, Proxies{Trusted: trusted, Header: Forwarded}
	for name, test := range map[string]struct {
		proxies Proxies
		peer    string
		lines   []string
		want    string // "": unknown
	}{
		"no proxy":                  {Proxies{}, "192.0.2.7:1", []string{"198.51.100.1"}, "192.0.2.7"},
		"IPv6":                      {Proxies{}, "[2001:db8::7%eth0]:1", nil, "2001:db8::7"},
		"mapped":                    {Proxies{}, "[::ffff:192.0.2.7]:1", nil, "192.0.2.7"},
		"a peer that is none":       {x, "192.0.2.7:1", []string{"198.51.100.1"}, "192.0.2.7"},
		"one proxy":                 {x, "10.0.0.1:1", []string{"192.0.2.7"}, "192.0.2.7"},
		"one mapped proxy":          {x, "[::ffff:10.0.0.1]:1", []string{"192.0.2.7"}, "192.0.2.7"},
		"two proxies":               {x, "10.0.0.1:1", []string{"192.0.2.7, 10.0.0.2"}, "192.0.2.7"},
		"two lines":                 {x, "10.0.0.1:1", []string{"192.0.2.7", "10.0.0.2"}, "192.0.2.7"},
		"a client's own element":    {x, "10.0.0.1:1", []string{"198.51.100.1, 192.0.2.7"}, "192.0.2.7"},
		"a client's own line":       {x, "10.0.0.1:1", []string{"198.51.100.1", "192.0.2.7,10.0.0.2"}, "192.0.2.7"},
		"a client that is a proxy":  {x, "10.0.0.1:1", []string{"10.0.0.9, 192.0.2.7"}, "192.0.2.7"},
		"a port":                    {x, "10.0.0.1:1", []string{"192.0.2.7:4711"}, "192.0.2.7"},
		"IPv6 with a port":          {x, "[2001:db8:1::1]:1", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		"brackets":                  {x, "10.0.0.1:1", []string{"[2001:db8::7]"}, "2001:db8::7"},
		"no header":                 {x, "10.0.0.1:1", nil, ""},
		"an empty header":           {x, "10.0.0.1:1", []string{""}, ""},
		"only proxies":              {x, "10.0.0.1:1", []string{"10.0.0.2, 10.0.0.3"}, ""},
		"a name":                    {x, "10.0.0.1:1", []string{"192.0.2.7, unknown"}, ""},
		"an empty element":          {x, "10.0.0.1:1", []string{"192.0.2.7, "}, ""},
		"a local socket":            {x, "@", []string{"192.0.2.7"}, ""},
		"Forwarded":                 {f, "10.0.0.1:1", []string{"for=192.0.2.7"}, "192.0.2.7"},
		"Forwarded, all parameters": {f, "10.0.0.1:1", []string{`proto=http; FOR="[2001:db8::7]:4711" ;by=10.0.0.1`}, "2001:db8::7"},
		"Forwarded, two":            {f, "10.0.0.1:1", []string{"for=192.0.2.7, for=10.0.0.2"}, "192.0.2.7"},
		"Forwarded, a quote":        {f, "10.0.0.1:1", []string{`for="198.51.100.1, for=192.0.2.7`}, "192.0.2.7"},
		"Forwarded, hidden":         {f, "10.0.0.1:1", []string{"for=_hidden"}, ""},
		"Forwarded, no for":         {f, "10.0.0.1:1", []string{"by=192.0.2.7"}, ""},
	} {
		header := http.Header{}
		if len(test.lines) > 0 {
			name := test.proxies.Header
			if name == "" {
				name = XForwardedFor
			}
			header[name] = test.lines
		}
		var want netip.Addr
		if test.want != "" {
			want = netip.MustParseAddr(test.want)
		}
		if got := test.proxies.client(&http.Request{RemoteAddr: test.peer, Header: header}); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestProxiesValidate(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, test := range map[string]struct {
		proxies Proxies
		want    string
	}{
		"none":       {Proxies{}, ""},
		"one":        {Proxies{Trusted: trusted, Header: Forwarded}, ""},
		"no header":  {Proxies{Trusted: trusted}, "header of the proxies: expected X-Forwarded-For or Forwarded"},
		"other":      {Proxies{Trusted: trusted, Header: "X-Real-IP"}, `got "X-Real-IP"`},
		"no proxies": {Proxies{Header: Forwarded}, "expected the addresses of trusted proxies"},
	} {
		_, err := NewHTTP(HTTPConfig{Site: http.NotFoundHandler(), Proxies: test.proxies})
		if (err == nil) != (test.want == "") || !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// FuzzClient: whatever stands before the element of a trusted proxy, the client is the
// address in that element.
func FuzzClient(f *testing.F) {
	f.Add("")
	f.Add("198.51.100.1")
	f.Add("10.0.0.3, 10.0.0.4")
	f.Add(",,,")
	f.Add(`for="198.51.100.1`)
	f.Add(`for="[::1]:1";`)
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, before string) {
		for _, p := range []Proxies{{Trusted: trusted, Header: XForwardedFor}, {Trusted: trusted, Header: Forwarded}} {
			own := "192.0.2.7, 10.0.0.2"
			if p.Header == Forwarded {
				own = "for=192.0.2.7;proto=https, for=10.0.0.2"
			}
			for _, lines := range [][]string{{before, own}, {before + ", " + own}} {
				got := p.client(&http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{p.Header: lines}})
				if got != netip.MustParseAddr("192.0.2.7") {
					t.Errorf("%s %q: %s", p.Header, lines, got)
				}
			}
			p.client(&http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{p.Header: {before}}})
		}
	})
}

// TestProxyOwner: from a trusted address, only connections of the proxies' own user are
// those of a proxy; all others are those of clients, also for the site. It is asked once
// for a connection.
func TestProxyOwner(t *testing.T) {
	heard := make(chan string, 1)
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.Header.Get(XForwardedFor) }))
	defer site.Close()
	u, _ := url.Parse(site.URL)
	for owns, want := range map[bool]string{true: "192.0.2.1, 127.0.0.1", false: "127.0.0.1"} {
		asked := 0
		p := Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Header: XForwardedFor}
		p.Owns = func(here, there netip.AddrPort) bool {
			if asked++; !here.Addr().Is4() || !there.Addr().Is4() || here.Port() == there.Port() {
				t.Errorf("asked for %s and %s", here, there)
			}
			return owns
		}
		next := Proxy(u, p, 8)
		clients := make(chan netip.Addr, 1)
		at := serveHTTP(t, "127.0.0.1:0", Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			clients <- p.client(r)
			next.ServeHTTP(w, r)
		})})
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		answers := bufio.NewReader(c)
		for range 2 {
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
			client := netip.MustParseAddr("127.0.0.1")
			if owns {
				client = netip.MustParseAddr("192.0.2.1")
			}
			if got := <-clients; got != client {
				t.Errorf("owns %t: the client is %s", owns, got)
			}
			if got := <-heard; got != want {
				t.Errorf("owns %t: the site gets %q, want %q", owns, got, want)
			}
			r, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
		}
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	}
}

// TestConnectionsOfOtherUsers: connections of other users of the host, from the address of a
// trusted proxy, displace themselves, and none of the proxy.
func TestConnectionsOfOtherUsers(t *testing.T) {
	t.Parallel()
	var proxy atomic.Uint32 // the port of the proxy's connection, which is the first
	p := Proxies{
		Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Header: XForwardedFor,
		Owns: func(_, there netip.AddrPort) bool {
			proxy.CompareAndSwap(0, uint32(there.Port()))
			return uint32(there.Port()) == proxy.Load()
		},
	}
	const most = 2 * sourceShare
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: NotFound, Connections: most, Proxies: p})
	// The server accepts a connection before it answers.
	request := func(c net.Conn) error {
		c.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			err = r.Body.Close()
		}
		return err
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ofProxy := dial()
	if err := request(ofProxy); err != nil {
		t.Fatal(err)
	}
	for range 2 * most {
		if err := request(dial()); err != nil {
			t.Fatal(err)
		}
	}
	if err := request(ofProxy); err != nil {
		t.Errorf("the connection of the proxy: %v", err)
	}
}
