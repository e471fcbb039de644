package gate

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pires/go-proxyproto"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/challenge/tunnel"
	"sallyport/verify/preamble"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

var (
	tunnelFrom = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	tunnelTo   = &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 443}
)

// newTunnel returns both ends of a tunnel, which came from tunnelFrom to tunnelTo.
func newTunnel(t testing.TB) (client, server *tunnel.Conn) {
	t.Helper()
	accepted := make(chan *websocket.Conn, 1)
	var open sync.WaitGroup
	open.Add(1)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
		open.Wait()
	}))
	c, _, err := websocket.Dial(t.Context(), site.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, server = tunnel.New(c, nil, nil), tunnel.New(<-accepted, tunnelTo, tunnelFrom)
	t.Cleanup(func() {
		client.Abort()
		server.Abort()
		open.Done()
		site.Close()
	})
	return client, server
}

// tunnelStage is a service of type "proxy" with an Inlet, at a time that a test sets.
type tunnelStage struct {
	t       *testing.T
	gate    *Services
	service *Service
	inlet   *Inlet
	now     time.Time
	done    chan error // of Tunnel
}

func newTunnelStage(t *testing.T, p LeasePolicy, cfg TCPConfig, c ServiceConfig) *tunnelStage {
	t.Helper()
	s := &tunnelStage{t: t, now: epoch, done: make(chan error, 10)}
	now := func() time.Time { return s.now }
	cfg.PrefixLen6, cfg.Clock, cfg.Log = 128, clock.Clock{Wall: now, Monotonic: now, Boot: now}, slog.New(slog.DiscardHandler)
	if cfg.PerAddress == 0 {
		cfg.PerAddress = 2
	}
	s.inlet = NewInlet(cfg, 22)
	p.OpenFor, p.OpenMax, p.Addresses = 10*time.Second, time.Minute, 8
	c.Name, c.PrefixLen6, c.Policy, c.Clock, c.Log, c.Inlet = "ssh", 128, p, cfg.Clock, cfg.Log, s.inlet
	s.service = NewService(c)
	var err error
	if s.gate, err = NewServices([]*Service{s.service}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.service.close)
	return s
}

// command is what the ticket's operation does.
func (s *tunnelStage) command(id string) Command {
	return Command{Service: s.service.ID(), Grant: grant(id, "192.0.2.7"), Operation: "ssh-alice"}
}

// open opens a tunnel as a client.
func (s *tunnelStage) open(id string) *tunnel.Conn {
	s.t.Helper()
	client, server := newTunnel(s.t)
	go func() { s.done <- carryTunnel(s.gate, s.command(id), server) }()
	client.SetReadDeadline(time.Now().Add(time.Minute))
	return client
}

// carryTunnel carries a tunnel until it ends, as a server does.
func carryTunnel(s *Services, c Command, t *tunnel.Conn) error {
	l, err := NewLink()
	if err != nil {
		return err
	}
	carry, err := s.Tunnel(c, t, l)
	if err != nil {
		l.Close()
		t.Refuse("not now")
		return err
	}
	carry()
	return nil
}

// tunnelPasses reports whether the service sends back what it gets.
func tunnelPasses(c net.Conn) bool {
	if _, err := io.WriteString(c, "hello"); err != nil {
		return false
	}
	b := make([]byte, 5)
	_, err := io.ReadFull(c, b)
	return err == nil && string(b) == "hello"
}

// wantTunnelReset fails unless a tunnel is reset.
func wantTunnelReset(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes, %v, want a reset", n, err)
	}
}

// TestTunnelToUpstream: the upstream sees the client's address, and each direction ends
// alone.
func TestTunnelToUpstream(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	headers := make(chan *proxyproto.Header, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		h, err := proxyproto.Read(r)
		if err != nil {
			t.Error(err)
		}
		headers <- h
		heard, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		c.Write(append([]byte("heard "), heard...))
	}()
	proxy := NewProxy(relay.TCP{Upstream: relay.Upstream(l.Addr().String()), ProxyProtocol: true}, slog.New(slog.DiscardHandler))
	s := newTunnelStage(t, LeasePolicy{}, TCPConfig{Handler: proxy}, ServiceConfig{})
	c := s.open("com1")
	question := strings.Repeat("question", 100_000)
	io.WriteString(c, question)
	c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "heard "+question {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	c.Close()
	h := <-headers
	if h.SourceAddr.String() != tunnelFrom.String() || h.DestinationAddr.String() != "198.51.100.1:22" {
		t.Errorf("from %s to %s", h.SourceAddr, h.DestinationAddr)
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

// TestTunnelToWeb: requests come from the client's address.
func TestTunnelToWeb(t *testing.T) {
	t.Parallel()
	from := make(chan string, 1)
	web := NewWeb(Content{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { from <- r.RemoteAddr })}, slog.New(slog.DiscardHandler))
	s := newTunnelStage(t, LeasePolicy{}, TCPConfig{Handler: web}, ServiceConfig{})
	c := s.open("com1")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200") {
		t.Errorf("%q, %v", b, err)
	}
	if got := <-from; got != tunnelFrom.String() {
		t.Errorf("from %s", got)
	}
}

// TestTunnelEnds: a tunnel ends with its client, with the service, by a command that
// closes, and at the end of its time only if the service cuts.
func TestTunnelEnds(t *testing.T) {
	t.Parallel()
	none := func(wire.Identifier) bool { return false }
	for name, row := range map[string]struct {
		cut  bool
		end  func(s *tunnelStage)
		ends bool
	}{
		"time, kept": {false, func(s *tunnelStage) { s.now = s.now.Add(time.Hour); s.service.sweep() }, false},
		"time, cut":  {true, func(s *tunnelStage) { s.now = s.now.Add(time.Hour); s.service.sweep() }, true},
		"in time":    {true, func(s *tunnelStage) { s.now = s.now.Add(5 * time.Second); s.service.sweep() }, false},
		"closed": {true, func(s *tunnelStage) {
			c := s.command("com1")
			c.Action = Close
			if err := s.gate.Execute(c); err != nil {
				t.Error(err)
			}
		}, true},
		"revoked": {false, func(s *tunnelStage) { s.gate.update(s.t, nil, none, nil) }, true},
		"reload":  {true, func(s *tunnelStage) { s.gate.update(s.t, nil, anyClient, nil) }, false},
		"no rights": {false, func(s *tunnelStage) {
			s.gate.update(s.t, restrict(map[wire.Identifier][]string{client(1): nil}), anyClient, nil)
		}, true},
		"stop": {false, func(s *tunnelStage) { s.service.close() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTunnelStage(t, LeasePolicy{Cut: row.cut}, TCPConfig{Handler: echo{}}, ServiceConfig{})
			c := s.open("com1")
			if !tunnelPasses(c) {
				t.Fatal("the tunnel does not pass bytes")
			}
			if n := s.inlet.Connections(); n != 1 {
				t.Errorf("%d connections", n)
			}
			row.end(s)
			if !row.ends {
				if !tunnelPasses(c) {
					t.Error("the tunnel has ended")
				}
				return
			}
			wantTunnelReset(t, c)
			if err := <-s.done; err != nil || s.inlet.Connections() > 0 {
				t.Errorf("%v, %d connections", err, s.inlet.Connections())
			}
		})
	}
}

// TestTunnelRefused: the client of a tunnel that the service does not take is reset.
func TestTunnelRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		before func(s *tunnelStage)
		change func(c *Command)
	}{
		"not allowed": {func(s *tunnelStage) {
			s.gate.update(s.t, restrict(map[wire.Identifier][]string{client(1): nil}), anyClient, nil)
		}, nil},
		"a random port": {nil, func(c *Command) { c.Port = 1234 }},
		"closes":        {nil, func(c *Command) { c.Action = Close }},
		"no inlet":      {func(s *tunnelStage) { s.service.inlet = nil }, nil},
		"stopped":       {func(s *tunnelStage) { s.service.close() }, nil},
		"per address": {func(s *tunnelStage) {
			for range 2 {
				if !tunnelPasses(s.open("com1")) {
					t.Error("within the limit")
				}
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTunnelStage(t, LeasePolicy{}, TCPConfig{Handler: echo{}}, ServiceConfig{})
			if row.before != nil {
				row.before(s)
			}
			client, server := newTunnel(t)
			c := s.command("com1")
			if row.change != nil {
				row.change(&c)
			}
			go func() { s.done <- carryTunnel(s.gate, c, server) }()
			wantTunnelReset(t, client)
			if err := <-s.done; err == nil {
				t.Error("accepted")
			}
		})
	}
}

// TestTunnelWaits: a tunnel passes nothing before the opening command has succeeded, and
// ends if it fails.
func TestTunnelWaits(t *testing.T) {
	t.Parallel()
	for _, fails := range []error{nil, errors.New("it failed")} {
		commands := &commandsOf{}
		served := make(chan bool, 1)
		s := newTunnelStage(t, LeasePolicy{}, TCPConfig{Handler: noting{served}}, ServiceConfig{Commands: commands})
		client, server := newTunnel(t)
		begun := make(chan bool)
		go func() { s.done <- carryTunnel(s.gate, s.command("com1"), server) }()
		go func() {
			io.WriteString(client, "hello")
			for {
				s.service.mu.Lock()
				n := len(s.service.ports)
				s.service.mu.Unlock()
				if n > 0 {
					close(begun)
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		<-begun
		select {
		case <-served:
			t.Error("the service got the connection")
		default:
		}
		commands.begun[0].finish(fails)
		if fails != nil {
			wantTunnelReset(t, client)
			continue
		}
		<-served
		if b := make([]byte, 5); true {
			if _, err := io.ReadFull(client, b); err != nil || string(b) != "hello" {
				t.Errorf("%q, %v", b, err)
			}
		}
	}
}

// noting is echo that notes its connections.
type noting struct{ served chan bool }

func (n noting) Serve(l net.Listener) error {
	n.served <- true
	return echo{}.Serve(l)
}

// TestTunnelProves: where connections prove themselves, a tunnel must, too.
func TestTunnelProves(t *testing.T) {
	stage := newProvedStage(t, LeasePolicy{Cut: true}, 8)
	inlet := NewInlet(stage.tcp.cfg, 22)
	stage.service.inlet = inlet
	stage.service.enforcers = append(stage.service.enforcers, inlet)
	done := make(chan error, 10)
	open := func() *tunnel.Conn {
		client, server := newTunnel(t)
		go func() {
			done <- carryTunnel(stage.gate, Command{Service: stage.service.ID(), Grant: grant("com1", "192.0.2.7")}, server)
		}()
		client.SetReadDeadline(time.Now().Add(time.Minute))
		return client
	}
	proves := func(c net.Conn, id string) bool {
		p := verifytest.Handshake(t, "ssh", id, uint32(time.Now().Unix()), 1)
		b := p.Preamble()
		if _, err := c.Write(b[:]); err != nil {
			return false
		}
		answer := make([]byte, preamble.AnswerSize)
		if _, err := io.ReadFull(c, answer); err != nil {
			return false
		}
		proof, err := p.Answer(answer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(proof[:]); err != nil {
			return false
		}
		return tunnelPasses(c)
	}
	if proves(open(), "com1") {
		t.Error("gets in without a lease")
	}
	stage.open("com1", "192.0.2.7")
	if tunnelPasses(open()) {
		t.Error("gets in without a proof")
	}
	if proves(open(), "com2") {
		t.Error("another client, without a lease, gets in")
	}
	c := open()
	if !proves(c, "com1") {
		t.Fatal("the client does not get in")
	}
	stage.expire(client(1))
	wantTunnelReset(t, c)
}

// TestTunnelAborts: the reset of one end is a reset of the other, in both directions.
func TestTunnelAborts(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]func(t *testing.T, c *tunnel.Conn, service *net.TCPConn){
		"the client": func(t *testing.T, c *tunnel.Conn, service *net.TCPConn) {
			c.Abort()
			if _, err := service.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
		},
		"the client, after its end": func(t *testing.T, c *tunnel.Conn, service *net.TCPConn) {
			c.CloseWrite()
			if _, err := service.Read(make([]byte, 1)); err != io.EOF {
				t.Error(err)
			}
			c.Abort()
			for {
				if _, err := service.Write(make([]byte, 1)); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		},
		"the service": func(t *testing.T, c *tunnel.Conn, service *net.TCPConn) {
			reset(service)
			wantTunnelReset(t, c)
		},
		"the service, after the client's end": func(t *testing.T, c *tunnel.Conn, service *net.TCPConn) {
			c.CloseWrite()
			if _, err := service.Read(make([]byte, 1)); err != io.EOF {
				t.Error(err)
			}
			reset(service)
			wantTunnelReset(t, c)
		},
		"the service, after its end": func(t *testing.T, c *tunnel.Conn, service *net.TCPConn) {
			service.CloseWrite()
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Error(err)
			}
			reset(service)
			<-c.Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := make(handing, 1)
			s := newTunnelStage(t, LeasePolicy{}, TCPConfig{Handler: h}, ServiceConfig{})
			c := s.open("com1")
			service := <-h
			row(t, c, service)
			service.Close()
			c.Abort()
			if err := <-s.done; err != nil {
				t.Error(err)
			}
		})
	}
}

// handing is a Handler that hands its connections to a test.
type handing chan *net.TCPConn

func (h handing) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		h <- c.(*conn).Conn.(*net.TCPConn)
	}
}

// TestLoopbackPair: both ends are of one connection.
func TestLoopbackPair(t *testing.T) {
	t.Parallel()
	a, b, err := loopbackPair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	io.WriteString(a, "hello")
	got := make([]byte, 5)
	_, err = io.ReadFull(b, got)
	if err != nil || string(got) != "hello" || a.LocalAddr().String() != b.RemoteAddr().String() {
		t.Errorf("%q, %v", got, err)
	}
}

var _ access.Enforcer = (*Inlet)(nil)
