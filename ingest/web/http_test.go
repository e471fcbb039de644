package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

const testHost = "www.example.com"

// serveHTTP runs a Server at a free port of an address.
func serveHTTP(t *testing.T, address string, s Server) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func newHTTP(t testing.TB, c HTTPConfig) *HTTP {
	t.Helper()
	h, err := NewHTTP(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// sites are sites that an operator may choose.
func sites(t *testing.T) map[string]http.Handler {
	t.Helper()
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %q %v %q %v", r.Method, r.RequestURI, body, err, r.Header.Get("Content-Type"), r.ContentLength)
	}))
	t.Cleanup(echo.Close)
	to, err := url.Parse(echo.URL)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]http.Handler{
		"directory": http.FileServerFS(fstest.MapFS{
			"index.html":   {Data: []byte("the site")},
			"123/456.html": {Data: []byte("a page with a number")},
		}),
		"proxy": &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				r.Out.Header.Del("Expect") // as at the site of the product: one 100 Continue
			},
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		},
		"not found": http.NotFoundHandler(),
	}
}

var date = regexp.MustCompile(`(?m)^Date: [^\r\n]*`)

// cut ends a request whose client closes its side before the body's end.
const cut = "q=cut off"

// raw sends a request as it is, and returns the answer without its date.
func raw(t *testing.T, at, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(request, cut) {
		c.(*net.TCPConn).CloseWrite()
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("%q: %v, after %q", request, err, b)
	}
	return date.ReplaceAllString(string(b), "Date:")
}

func get(path string, more ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + testHost + "\r\n" + strings.Join(more, "") + "Connection: close\r\n\r\n"
}

func post(body string, more ...string) string {
	if len(more) == 0 {
		more = []string{"Content-Type: " + carrier.FormType + "\r\n", fmt.Sprintf("Content-Length: %d\r\n", len(body))}
	}
	return "POST /login HTTP/1.1\r\nHost: " + testHost + "\r\n" + strings.Join(more, "") + "Connection: close\r\n\r\n" + body
}

// strangersRequests returns requests that draw no challenge, where o is the only
// operation.
func strangersRequests(t *testing.T, o *exchange.Operation) []string {
	t.Helper()
	other := operation(t, exchange.NATAware, "ssh-bobby-")
	request := func(o *exchange.Operation, k carrier.Kind, x carrier.Exchange, self string) *carrier.Message {
		a := netip.MustParseAddr(self)
		server := netip.MustParseAddr("127.0.0.1")
		if a.Is6() {
			server = netip.MustParseAddr("::1")
		}
		i, err := exchange.NewInitiator(o, a, server, [exchange.NonceSize]byte{})
		if err != nil {
			t.Fatal(err)
		}
		return message(t, k, x, i.Request())
	}
	path := func(m *carrier.Message) string { return string(m.AppendPath(nil, 0, m.Numbers())) }
	form := func(m *carrier.Message) string { return string(m.AppendForm(nil)) }
	valid := request(o, carrier.Request4, 5, "127.0.0.1")
	response := message(t, carrier.Response, 5, make([]byte, 20))
	length := fmt.Sprintf("Content-Length: %d\r\n", len(form(valid)))
	return []string{
		get("/"), get("/missing"), get("/123/456.html"), get("/123.html"), get("/index.html"),
		get("/", "Origin: null\r\n"), "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "nonsense\r\n\r\n",
		get(path(request(other, carrier.Request4, 6, "127.0.0.1"))), // no such operation
		get(path(request(o, carrier.Request6, 7, "::1"))),           // not the client's family
		get(string(valid.AppendPath(nil, 0, valid.Numbers()-1))),    // not complete
		get(path(valid) + "?"), get(path(valid) + "?a=b"), get("//" + path(valid)),
		get("http://" + testHost + path(valid)),
		get(path(valid), "Content-Length: 1\r\n") + "a", get(path(valid), "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n",
		strings.Replace(get(path(valid)), "GET", "HEAD", 1), strings.Replace(get(path(valid)), "GET", "PUT", 1),
		get(path(response)), get(path(response), "Origin: null\r\n"), post(form(response)),
		post("a=b"), post(""), post(strings.Repeat("a", carrier.MaxForm)), post(strings.Repeat("a", carrier.MaxForm+1)),
		post(strings.Repeat("a", 2000)), post(form(valid) + "&a=b"),
		post(form(valid), "Content-Type: text/plain\r\n", length),
		post(form(valid), "Content-Type: "+carrier.FormType+"; charset=utf-8\r\n", length),
		post(form(valid), length),
		post(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(form(valid)), form(valid)), "Content-Type: "+carrier.FormType+"\r\nTransfer-Encoding: chunked\r\n"),
		post(form(valid), "Content-Type: "+carrier.FormType+"\r\nExpect: 100-continue\r\n", length),
		post(cut, "Content-Type: "+carrier.FormType+"\r\nContent-Length: 20\r\n"), // the client is gone before its end
	}
}

// TestSiteAnswers: a request that draws no challenge gets the same bytes from the site
// alone, from one without operations, and from one with them.
func TestSiteAnswers(t *testing.T) {
	o := operation(t, exchange.NATAware, testID)
	requests := strangersRequests(t, o)
	for name, site := range sites(t) {
		t.Run(name, func(t *testing.T) {
			with := newResponders(netip.Addr{}, o)
			handlers := map[string]http.Handler{
				"alone": site,
				"none":  newHTTP(t, HTTPConfig{Site: site, Exchanges: newResponders(netip.Addr{})}),
				"some":  newHTTP(t, HTTPConfig{Site: site, Exchanges: with}),
			}
			at := map[string]string{}
			for name, h := range handlers {
				at[name] = serveHTTP(t, "127.0.0.1:0", Server{Handler: h})
			}
			for _, request := range requests {
				want := raw(t, at["alone"], request)
				if want == "" {
					t.Errorf("no answer to %q", request)
				}
				for name, at := range at {
					if got := raw(t, at, request); got != want {
						t.Errorf("%q, with operations: %s\ngot  %q\nwant %q", request, name, got, want)
					}
				}
			}
			if len(with.waiting) > 0 {
				t.Errorf("%d requests were challenged", len(with.waiting))
			}
			valid := message(t, carrier.Request4, 5, append([]byte(testID), 127, 0, 0, 1))
			got := raw(t, at["some"], get(string(valid.AppendPath(nil, 0, valid.Numbers()))))
			if !strings.Contains(got, "<title>Continue</title>") {
				t.Errorf("a valid request got %q", got)
			}
		})
	}
}

// TestUnproved: behind another server, a request that draws no challenge gets the
// configured status and nothing else, and one that draws one gets it.
func TestUnproved(t *testing.T) {
	o := operation(t, exchange.NATAware, testID)
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: newHTTP(t, HTTPConfig{Unproved: 421, Exchanges: newResponders(netip.Addr{}, o)})})
	for _, request := range []string{get("/"), get("/123/456.html"), post("a=b")} {
		const want = "HTTP/1.1 421 Misdirected Request\r\nDate:\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
		if got := raw(t, at, request); got != want {
			t.Errorf("%q: %q, want %q", request, got, want)
		}
	}
	m := message(t, carrier.Request4, 5, append([]byte(testID), 127, 0, 0, 1))
	got := raw(t, at, get(string(m.AppendPath(nil, 0, m.Numbers()))))
	if !strings.Contains(got, "<title>Continue</title>") {
		t.Errorf("a valid request got %q", got)
	}
	for _, c := range []HTTPConfig{{}, {Unproved: 421, Site: http.NotFoundHandler()}, {Unproved: 399}, {Unproved: 600}, {Unproved: -1}} {
		if _, err := NewHTTP(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

// TestChallengePage: the header of a challenge.
func TestChallengePage(t *testing.T) {
	o := operation(t, exchange.NATAware, testID)
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{}, o)})})
	m := message(t, carrier.Request4, 5, append([]byte(testID), 127, 0, 0, 1))
	path := string(m.AppendPath(nil, 0, m.Numbers()))
	const (
		head  = "HTTP/1.1 200 OK\r\n"
		allow = "Access-Control-Allow-Origin: *\r\n"
		rest  = "Cache-Control: no-store\r\nContent-Length: 261\r\nContent-Type: text/html; charset=utf-8\r\nDate:\r\nConnection: close\r\n\r\n<!DOCTYPE html>\n"
	)
	plain, from := raw(t, at, get(path)), raw(t, at, post(string(m.AppendForm(nil)), "Origin: null\r\nContent-Type: "+carrier.FormType+"\r\n", fmt.Sprintf("Content-Length: %d\r\n", len(m.AppendForm(nil)))))
	if !strings.HasPrefix(plain, head+rest) {
		t.Errorf("got %q, want %q", plain, head+rest)
	}
	if !strings.HasPrefix(from, head+allow+rest) {
		t.Errorf("from a page: %q, want %q", from, head+allow+rest)
	}
	if _, page, _ := strings.Cut(plain, "\r\n\r\n"); !strings.HasSuffix(from, page) {
		t.Errorf("the request again got another challenge")
	}
}

// runHTTPExchange makes an exchange for an address, by a function that sends a message
// and returns the body of the answer.
func runHTTPExchange(t *testing.T, e *responders, o *exchange.Operation, x carrier.Exchange, public string, send func(*carrier.Message) []byte) {
	t.Helper()
	before := e.proved()
	client, kind := netip.MustParseAddr(public), carrier.Request4
	if client.Is6() {
		kind = carrier.Request6
	}
	i, err := exchange.NewInitiator(o, client, e.public, [exchange.NonceSize]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	page := send(message(t, kind, x, i.Request()))
	challenge, reason := carrier.ParsePage(nil, page)
	if reason != carrier.Accepted {
		t.Fatalf("%s: %s", page, reason)
	}
	answer, err := i.Answer(challenge)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Public != client {
		t.Errorf("the server sees %s, want %s", answer.Public, client)
	}
	for range 2 { // it counts once
		if page := send(message(t, carrier.Response, x, answer.Response)); !bytes.Contains(page, []byte("404")) {
			t.Errorf("the response got %q", page)
		}
	}
	if got := e.proved() - before; got != 1 || e.proofs[before].Client() != client {
		t.Errorf("%d proofs, want 1, for %s", got, client)
	}
}

// TestHTTPExchange makes exchanges by all forms, over IPv4 and IPv6.
func TestHTTPExchange(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		for _, a := range []exchange.Algorithm{exchange.Unilateral, exchange.NATAware, exchange.Mutual} {
			o := operation(t, a, testID)
			e := newResponders(netip.Addr{}, o)
			e.public = netip.MustParseAddr(address)
			at := "http://" + serveHTTP(t, net.JoinHostPort(address, "0"), Server{Handler: newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: e})})
			body := func(r *http.Response, err error) []byte {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				b, err := io.ReadAll(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			for x, send := range []func(*carrier.Message) []byte{
				func(m *carrier.Message) []byte {
					return body(http.Get(at + string(m.AppendPath(nil, 0, m.Numbers()))))
				},
				func(m *carrier.Message) []byte {
					return body(http.Post(at+"/", carrier.FormType, bytes.NewReader(m.AppendForm(nil))))
				},
				func(m *carrier.Message) (last []byte) { // a page for each part, backwards
					for i := m.Numbers() - 1; i >= 0; i-- {
						last = body(http.Get(at + string(m.AppendPath(nil, i, i+1))))
					}
					return last
				},
			} {
				runHTTPExchange(t, e, o, carrier.Exchange(x), address, send)
			}
		}
	}
}

// TestPartsOfTwoAddresses: a request for an address is of one address.
func TestPartsOfTwoAddresses(t *testing.T) {
	o := operation(t, exchange.NATAware, testID)
	h := newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{}, o)})
	m := message(t, carrier.Request4, 5, append([]byte(testID), 10, 0, 0, 7))
	status := func(from string, first, last int) int {
		r := httptest.NewRequest("GET", string(m.AppendPath(nil, first, last)), nil)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for i, test := range []struct {
		from        string
		first, last int
		want        int
	}{
		{"192.0.2.7:1", 0, 1, 404}, {"192.0.2.8:1", 1, 3, 404}, {"192.0.2.7:2", 1, 3, 200}, {"192.0.2.7:3", 0, 1, 200},
		{"192.0.2.8:1", 0, 3, 404}, // whole, but another client's exchange
	} {
		if got := status(test.from, test.first, test.last); got != test.want {
			t.Errorf("request %d: %d, want %d", i, got, test.want)
		}
	}
}

// TestBodies: the site reads the body that the handler has read before, and its error.
func TestBodies(t *testing.T) {
	for body, length := range map[string]int64{"q=a": 3, "q=cut": 9} {
		var got []byte
		var err error
		h := newHTTP(t, HTTPConfig{
			Site:      http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, err = io.ReadAll(r.Body) }),
			Exchanges: newResponders(netip.Addr{}),
		})
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.ContentLength = length
		r.Header.Set("Content-Type", carrier.FormType)
		h.ServeHTTP(httptest.NewRecorder(), r)
		want := error(nil)
		if length > int64(len(body)) {
			want = io.ErrUnexpectedEOF
		}
		if string(got) != body || err != want {
			t.Errorf("%q of %d bytes: %q, %v, want %v", body, length, got, err, want)
		}
	}
}

// TestServerIsBounded: slow clients give way to others; a client that is being answered
// does not, while others wait.
func TestServerIsBounded(t *testing.T) {
	release, answering := make(chan struct{}), make(chan struct{})
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			close(answering)
			<-release
		}
		io.WriteString(w, "the site")
	})
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: site, Connections: 4})
	dial := func(send string) net.Conn {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(c, send); err != nil {
			t.Fatal(err)
		}
		return c
	}
	check := func(c net.Conn) {
		t.Helper()
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r.Body); string(b) != "the site" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	long := dial(get("/long"))
	<-answering
	for range 20 {
		dial("GET / HTTP/1.1\r\nHost: a\r\n") // and no end
		check(dial(get("/")))
	}
	close(release)
	check(long)
}
