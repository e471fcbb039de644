package web

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/verify/challenge/carrier"
)

// pipes is a listener whose connections are pipes, with the clock of the test.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.accepted <- there
	return here
}

// slowClient sends bytes one by one, and returns when the server has closed the
// connection, or after an hour.
func slowClient(c net.Conn, bytes string, pause time.Duration) (lasted time.Duration) {
	defer c.Close()
	began := time.Now()
	c.SetDeadline(began.Add(time.Hour))
	over := make(chan struct{})
	go func() {
		io.Copy(io.Discard, c)
		close(over)
	}()
	for i := range len(bytes) {
		if _, err := io.WriteString(c, bytes[i:i+1]); err != nil {
			break
		}
		select {
		case <-over:
			return time.Since(began)
		case <-time.After(pause):
		}
	}
	<-over
	return time.Since(began)
}

// TestSlowClientsOfHTTP: they lose their connections after a time, and until then others
// are answered at once, although the slow ones take all connections.
func TestSlowClientsOfHTTP(t *testing.T) {
	header := "POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 300\r\n\r\n"
	// The form of a message has readFormTime, and then what is left of a body, too.
	for name, test := range map[string]struct {
		bytes string // the first ones at once
		once  int
		pause time.Duration
		least time.Duration // within this time and a second, the connection ends
	}{
		"silent":                         {"", 0, 0, readHeaderTime},
		"a slow header":                  {strings.Repeat("GET / HTTP/1.1\r\n", 100), 0, time.Second, readHeaderTime},
		"a slow form":                    {header + strings.Repeat("q", 300), len(header), time.Second, 2 * readFormTime},
		"a form that ends":               {header + "q", len(header), time.Second, 2 * readFormTime},
		"a slow body that nothing reads": {strings.ReplaceAll(header, "300", "9000") + strings.Repeat("q", 9000), len(header) + 1, time.Second, readFormTime},
		"idle after an answer":           {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, time.Second, idleTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const most = 8
				l := newPipes()
				h := newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{})})
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- Server{Handler: h, Connections: most}.Run(ctx, l) }()
				results := make(chan time.Duration, most)
				for range most - 1 {
					go func() {
						c := l.dial()
						io.WriteString(c, test.bytes[:test.once])
						results <- slowClient(c, test.bytes[test.once:], test.pause)
					}()
				}
				time.Sleep(test.least / 2)
				began := time.Now()
				c := l.dial()
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), "404") {
					t.Errorf("another client got %q, %v", b, err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("another client waited %s", took)
				}
				for range most - 1 {
					if lasted := <-results; lasted < test.least || lasted > test.least+2*time.Second {
						t.Errorf("a slow connection lasted %s, want about %s", lasted, test.least)
					}
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestClientThatDoesNotRead: it loses its connection.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		h := newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{})})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- Server{Handler: h}.Run(ctx, l) }()
		c := l.dial()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		time.Sleep(writeTime + time.Second)
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
			t.Errorf("after %s it got %q, %v", writeTime, b, err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestSlowClientsOfDNS: a connection that sends no query in time ends.
func TestSlowClientsOfDNS(t *testing.T) {
	query := asked{name: testZone, kind: dnsmessage.TypeSOA}.pack(t)
	whole := string(binary.BigEndian.AppendUint16(nil, uint16(len(query)))) + string(query)
	for name, test := range map[string]struct {
		bytes string
		once  int
		least time.Duration
	}{
		"silent":                 {"", 0, messageTime},
		"a slow query":           {whole, 0, messageTime},
		"a slow second query":    {whole + whole, len(whole), messageTime},
		"silent after an answer": {whole, len(whole), messageTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				d, err := NewDNS(DNSConfig{
					Zone: Zone{Name: testZone, Servers: []string{"ns.example.com"}}, Exchanges: newResponders(netip.Addr{}), Listeners: []net.Listener{l},
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					d.Run(ctx)
					close(ended)
				}()
				c := l.dial()
				io.WriteString(c, test.bytes[:test.once])
				lasted := slowClient(c, test.bytes[test.once:], time.Second)
				if lasted < test.least || lasted > test.least+2*time.Second {
					t.Errorf("the connection lasted %s, want about %s", lasted, test.least)
				}
				stop()
				<-ended
			})
		})
	}
}

// TestSlowClientsDisplaceNoTunnel: they keep all connections busy, and a tunnel stays.
func TestSlowClientsDisplaceNoTunnel(t *testing.T) {
	const most = 4
	at := serveHTTP(t, "127.0.0.1:0", Server{Connections: most, Handler: newHTTP(t, HTTPConfig{
		Site: http.NotFoundHandler(), Exchanges: newResponders(netip.Addr{}), Tunnels: newTickets(echo, 1),
	})})
	client, err := dialTunnel(t, "ws://"+at, 0, &http.Transport{})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 * most {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, post("q", "Content-Type: "+carrier.FormType+"\r\n", "Content-Length: 300\r\n"))
	}
	carryStream(t, client, 1000)
}
