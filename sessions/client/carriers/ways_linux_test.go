package carriers

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/verify/challenge/carrier"
)

// soon is a pause after which the next way begins almost at once.
const soon = time.Millisecond

func always([]byte) bool { return true }

func noProxy(*url.URL) (*url.URL, error) { return nil, nil }

// challenger answers the messages of one method with a challenge, as the server does.
func challenger(method string, other http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.Method != method {
			other(w, r)
			return
		}
		w.Write(carrier.AppendPage(nil, []byte("a challenge")))
	}
}

// TestSilentWay: a proxy accepts POST requests, and never answers them.
func TestSilentWay(t *testing.T) {
	t.Parallel()
	var got []string
	s := httptest.NewServer(challenger(http.MethodGet, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer s.Close()
	h, err := NewHTTP(HTTPConfig{URL: s.URL, Proxy: noProxy, Pause: soon})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	err = h.Request(t.Context(), testMessage(t), func(c []byte) bool { got = append(got, string(c)); return true })
	if err != nil || len(got) != 1 || got[0] != "a challenge" {
		t.Fatalf("%q, %v", got, err)
	}
	// The response goes the way of the challenge.
	if err := h.Respond(t.Context(), testMessage(t)); err != nil {
		t.Error(err)
	}
}

// TestAnotherAddress: at one address of the server another host answers, without its
// certificate, not by TLS, or with its own page. The client goes on to the next address,
// and further requests go there.
func TestAnotherAddress(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(challenger(http.MethodPost, http.NotFound))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for at, front := range map[string]func(*httptest.Server){
		"127.0.0.2": func(p *httptest.Server) { p.StartTLS() },
		"127.0.0.3": func(p *httptest.Server) { p.Start() },
		"127.0.0.4": nil,
	} {
		if front != nil {
			l, err := net.Listen("tcp", at+":"+port)
			if err != nil {
				t.Fatal(err)
			}
			p := httptest.NewUnstartedServer(http.NotFoundHandler())
			p.Config.ErrorLog = log.New(io.Discard, "", 0)
			p.Listener.Close()
			p.Listener = l
			front(p)
			defer p.Close()
		}
		h, err := NewHTTP(HTTPConfig{
			URL: "https://example.com:" + port, Roots: roots, Proxy: noProxy,
			Addresses: []netip.Addr{netip.MustParseAddr(at), netip.MustParseAddr("127.0.0.1")},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.Request(t.Context(), testMessage(t), always); err != nil {
			t.Errorf("%s: %v", at, err)
			continue
		}
		r, err := h.Client().Get(h.URL().String())
		if err != nil || r.StatusCode != http.StatusNotFound || r.ProtoMajor != 2 {
			t.Errorf("%s: further requests: %+v, %v", at, r, err)
		}
	}
}

// zoneServer answers queries by UDP and TCP, at one port. A nil answer is silence.
func zoneServer(t *testing.T, udp, tcp func(*dnsmessage.Message)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); c.Close() })
	reply := func(query []byte, answer func(*dnsmessage.Message)) []byte {
		var m dnsmessage.Message
		if answer == nil || m.Unpack(query) != nil {
			return nil
		}
		m.Header.Response, m.Header.RecursionAvailable, m.Additionals = true, true, nil
		answer(&m)
		out, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		return out
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if out := reply(b[:n], udp); out != nil {
				c.WriteTo(out, from)
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 4096)
				for {
					if _, err := io.ReadFull(c, b[:2]); err != nil {
						return
					}
					n := int(b[0])<<8 | int(b[1])
					if _, err := io.ReadFull(c, b[:n]); err != nil {
						return
					}
					if out := reply(b[:n], tcp); out != nil {
						c.Write(append([]byte{byte(len(out) >> 8), byte(len(out))}, out...))
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func texts(all ...string) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) {
		for _, text := range all {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.TXTResource{TXT: []string{text}},
			})
		}
	}
}

func code(c dnsmessage.RCode) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) { m.Header.RCode = c }
}

// TestResolvers: what one way answers, whatever it is, does not keep the client from the
// next one; and DNS over TCP alone is enough.
func TestResolvers(t *testing.T) {
	t.Parallel()
	right := string(carrier.AppendText(nil, []byte("a challenge")))
	lie := string(carrier.AppendText(nil, []byte("another one")))
	truncated := func(m *dnsmessage.Message) { m.Header.Truncated = true }
	good := zoneServer(t, texts(right), texts(right))
	for name, row := range map[string]struct {
		resolver string
		servers  []string
	}{
		"a false challenge": {zoneServer(t, texts(lie), texts(lie)), []string{good}},
		"two texts":         {zoneServer(t, texts("log in", right), nil), nil},
		"SERVFAIL":          {zoneServer(t, code(dnsmessage.RCodeServerFailure), code(dnsmessage.RCodeServerFailure)), []string{good}},
		"REFUSED":           {zoneServer(t, code(dnsmessage.RCodeRefused), nil), []string{good}},
		"NXDOMAIN":          {zoneServer(t, code(dnsmessage.RCodeNameError), nil), []string{good}},
		"truncated":         {zoneServer(t, truncated, texts(right)), nil},
		"truncated, no TCP": {zoneServer(t, truncated, nil), []string{good}},
		"silence":           {zoneServer(t, nil, nil), []string{good}},
		"TCP only":          {zoneServer(t, nil, texts(right)), nil},
		"TCP only, direct":  {zoneServer(t, nil, nil), []string{zoneServer(t, nil, texts(right))}},
		"UDP is a lie":      {zoneServer(t, code(dnsmessage.RCodeNameError), nil), []string{zoneServer(t, texts(lie), texts(right))}},
		"the second server": {zoneServer(t, nil, nil), []string{zoneServer(t, nil, nil), good}},
	} {
		d, err := NewDNS(DNSConfig{Zone: "k.example.org", Servers: row.servers, Pause: soon, Resolver: &net.Resolver{
			PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, row.resolver)
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		isRight := func(c []byte) bool { return string(c) == "a challenge" }
		if err := d.Request(t.Context(), testMessage(t), isRight); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := d.Respond(t.Context(), testMessage(t)); err != nil {
			t.Errorf("%s: the response: %v", name, err)
		}
	}
}

// TestFaultOfAllWays: the fault of several ways is that of the one that shows the most.
func TestFaultOfAllWays(t *testing.T) {
	t.Parallel()
	by := func(c Cause) way { return func(context.Context, Accept) error { return &Fault{Cause: c, By: "x"} } }
	until := func(ctx context.Context, _ Accept) error {
		<-ctx.Done()
		return &Fault{Cause: TimedOut, By: "x", Err: context.Cause(ctx)}
	}
	for want, ways := range map[Cause][]way{
		Portal:    {by(Unreachable), by(Portal), by(Refused)},
		Forged:    {by(NoRecord), by(Forged), until},
		Refused:   {by(Refused), by(TimedOut)},
		OtherPage: {by(OtherPage), by(Gateway)},
		TimedOut:  {until, until},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := race(ctx, soon, ways, always)
		var f *Fault
		if !errors.As(err, &f) || f.Cause != want {
			t.Errorf("%v, want the cause %d", err, want)
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := race(ctx, soon, []way{until}, always); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	long := &Fault{Cause: Forged, By: "www.example.org"}
	if !strings.Contains(long.Error(), "not authentic") {
		t.Error(long)
	}
}
