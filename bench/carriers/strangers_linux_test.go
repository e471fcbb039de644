package carriers

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/ingest/web"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// BenchmarkStrangers compares how long strangers wait for answers of a server with a
// hundred operations, and of one without any: in one run, one request of each in turn, in
// a random order. The server without operations runs twice: the comparison of these two
// shows what the machine alone causes. Metrics: KS, larger and medians of Compare; those
// of the two equal servers; and the KS that chance exceeds once in a thousand times.
func BenchmarkStrangers(b *testing.B) {
	for _, way := range []string{"handler", "connection", "DNS"} {
		for name, request := range strangers(b, way) {
			b.Run(way+"/"+name, func(b *testing.B) {
				var ask [3]func() ([]byte, time.Duration) // none, none again, a hundred
				for i, n := range []int{0, 0, 100} {
					s := newSite(b, n)
					switch way {
					case "handler":
						ask[i] = s.handler(request)
					case "connection":
						ask[i] = s.connection(b, request)
					case "DNS":
						ask[i] = s.dns(b, request)
					}
				}
				without, _ := ask[0]()
				if with, _ := ask[2](); !slices.Equal(without, with) {
					b.Fatalf("with operations: %q, without: %q", with, without)
				}
				var took [3][]int64
				order := []int{0, 1, 2}
				for b.Loop() {
					rand.Shuffle(3, func(i, j int) { order[i], order[j] = order[j], order[i] })
					for _, i := range order {
						_, t := ask[i]()
						took[i] = append(took[i], int64(t))
					}
				}
				same, other := Compare(slices.Clone(took[0]), took[1]), Compare(took[0], took[2])
				b.ReportMetric(0, "ns/op")
				for unit, value := range map[string]float64{
					"KS": other.KS, "larger": other.Larger, "medians": other.Medians,
					"KS-same": same.KS, "larger-same": same.Larger, "medians-same": same.Medians, "KS-chance": Noise(b.N),
				} {
					b.ReportMetric(value, unit)
				}
			})
		}
	}
}

// strangers returns requests that no operation answers: each form that a server looks at.
func strangers(b testing.TB, way string) map[string]string {
	m := func(k carrier.Kind, message []byte) *carrier.Message {
		m, err := carrier.New(k, 5, message)
		if err != nil {
			b.Fatal(err)
		}
		return &m
	}
	path := func(m *carrier.Message) string { return string(get(string(m.AppendPath(nil, 0, m.Numbers())))) }
	request := m(carrier.Request4, []byte("ssh-nobody\x7f\x00\x00\x01"))
	connection := m(carrier.RequestConnection, append([]byte("ssh-nobody"), make([]byte, 16)...))
	response := m(carrier.Response, make([]byte, 20))
	if way == "DNS" {
		all := map[string]string{}
		for name, label := range map[string][]byte{
			"name": []byte("www"), "request": connection.AppendLabel(nil, 0), "response": response.AppendLabel(nil, 0),
		} {
			q, err := query(label)
			if err != nil {
				b.Fatal(err)
			}
			all[name] = string(q)
		}
		return all
	}
	form := request.AppendForm(nil)
	return map[string]string{
		"page":           string(get("/")),
		"numbers":        string(get("/123/456.html")),
		"request":        path(request),
		"request-known":  path(m(carrier.Request4, []byte("operation-007"))), // an ID, of another length
		"for-connection": path(connection),
		"response":       path(response),
		"form":           fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", host, carrier.FormType, len(form), form),
	}
}

// server is a site with operations or without.
type server struct {
	*web.HTTP
	table table
}

func newSite(b testing.TB, operations int) server {
	var list []*exchange.Operation
	for i := range operations {
		o, err := exchange.NewOperation(fmt.Sprintf("operation-%03d", i), secret, exchange.NATAware, false)
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, o)
	}
	public := netip.MustParseAddr("127.0.0.1")
	t, err := newTable(public, list)
	if err != nil {
		b.Fatal(err)
	}
	h, err := web.NewHTTP(web.HTTPConfig{Site: http.NotFoundHandler(), Exchanges: t.http})
	if err != nil {
		b.Fatal(err)
	}
	return server{h, t}
}

// answer is a writer that keeps an answer.
type answer struct {
	header http.Header
	body   []byte
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { a.body = append(a.body, b...); return len(b), nil }
func (a *answer) WriteHeader(int)             {}

// handler answers a request without a network.
func (s server) handler(request string) func() ([]byte, time.Duration) {
	var a answer
	return func() ([]byte, time.Duration) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
		if err != nil {
			panic(err)
		}
		r.RemoteAddr = "127.0.0.1:1"
		a = answer{http.Header{}, a.body[:0]}
		begin := time.Now()
		s.ServeHTTP(&a, r)
		return a.body, time.Since(begin)
	}
}

// connection answers a request over a connection that stays.
func (s server) connection(b *testing.B, request string) func() ([]byte, time.Duration) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		web.Server{Handler: s}.Run(ctx, l)
		close(ended)
	}()
	b.Cleanup(func() {
		stop()
		<-ended
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	in := bufio.NewReader(c)
	return func() ([]byte, time.Duration) {
		begin := time.Now()
		io.WriteString(c, request)
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			b.Fatal(err)
		}
		return body, time.Since(begin)
	}
}

// dns answers a query over UDP.
func (s server) dns(b *testing.B, query string) func() ([]byte, time.Duration) {
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	d, err := web.NewDNS(web.DNSConfig{
		Zone: web.Zone{Name: zone, Servers: []string{"ns.example.org"}}, Exchanges: s.table.dns, Sockets: []*net.UDPConn{u},
		Answers: 1_000_000, // no query of this test is beyond it
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		d.Run(ctx)
		close(ended)
	}()
	b.Cleanup(func() {
		stop()
		<-ended
	})
	c, err := net.Dial("udp4", u.LocalAddr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	var in [1500]byte
	return func() ([]byte, time.Duration) {
		begin := time.Now()
		io.WriteString(c, query)
		n, err := c.Read(in[:])
		if err != nil {
			b.Fatal(err)
		}
		return in[:n], time.Since(begin)
	}
}
