package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/ingest/capture"
	"sallyport/sessions/handshakes"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// testServer is a server of the challenge–response protocol, on the loopback.
type testServer struct {
	*testing.T
	table   *handshakes.Table
	capture *capture.Capture
	mangle  func(n int, payload []byte) [][]byte // returns what the client receives of the n-th challenge

	wall     func() time.Time // of operations that hop
	requests []capture.Packet // of the first request; guarded by mu

	challenges atomic.Int64
	responses  atomic.Int64 // the number of their packets

	mu      sync.Mutex
	granted []exchange.Proof
	opened  []net.Listener
}

var (
	narrow = challenge.Encoding{Scheme: challenge.Ranges, Base: 20000, DataBits: 4}
	above  = challenge.Encoding{Scheme: challenge.Ranges, Base: 21200, DataBits: 4}
)

func newTestServer(t *testing.T, o *exchange.Operation, mangle func(n int, payload []byte) [][]byte) *testServer {
	t.Helper()
	ports := challenge.Ports{First: 20000, Last: 21839}
	ops, err := exchange.NewOperations([]*exchange.Operation{o}, challenge.Plan{Request: narrow, Response: above, Ports: ports})
	if err != nil {
		t.Fatal(err)
	}
	return serveOperations(t, ops, ports, time.Now, mangle)
}

func serveOperations(
	t *testing.T, ops *exchange.Operations, ports challenge.Ports, wall func() time.Time, mangle func(n int, payload []byte) [][]byte,
) *testServer {
	t.Helper()
	g := &testServer{T: t, mangle: mangle, wall: wall}
	var err error
	g.table, err = handshakes.New(handshakes.Config{
		Operations: ops, Slots: 64, Random: rand.Reader, Port: func(*exchange.Operation) uint16 { return 30000 },
		Answer: func(source, destination netip.AddrPort, payload []byte) error {
			n := g.challenges.Add(1)
			all := [][]byte{payload}
			if g.mangle != nil {
				all = g.mangle(int(n), payload)
			}
			for _, p := range all {
				if err := g.capture.Answer(capture.Packet{Source: source, Destination: destination}, p); err != nil {
					return err
				}
			}
			return nil
		},
		OnProof: func(grant exchange.Proof, _ netip.Addr) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.granted = append(g.granted, grant)
			at := "127.0.0.1:8080"
			if grant.Client().Is6() {
				at = "[::1]:8080"
			}
			if grant.Port() != 0 {
				at = "127.0.0.1:30000"
			}
			g.open(at)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	// The capture binds the ports: no other program uses them.
	g.capture, err = capture.Open(capture.Config{
		Settings: capture.Settings{First: ports.First, Last: ports.Last}, Sockets: true, Sink: g, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.capture.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, l := range g.opened {
			l.Close()
		}
	})
	return g
}

// open listens, and accepts connections.
func (g *testServer) open(at string) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return // it listens already
	}
	g.opened = append(g.opened, l)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("welcome"))
			defer c.Close()
		}
	}()
}

func (g *testServer) Take(packets []capture.Packet) {
	g.table.Turn(g.wall())
	for _, k := range packets {
		if k.Destination.Port() >= above.Base {
			g.responses.Add(1)
		}
		if g.challenges.Load() == 0 {
			g.mu.Lock()
			g.requests = append(g.requests, k)
			g.mu.Unlock()
		}
		g.table.Receive(k.Source, k.Destination, time.Now())
	}
}

func (g *testServer) grants() []exchange.Proof {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.granted
}

func newOperation(t *testing.T, a exchange.Algorithm, random bool) *exchange.Operation {
	t.Helper()
	o, err := exchange.NewOperation("open-it", "the secret", a, random)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func exchangeConfig(o *exchange.Operation, server string) ExchangeConfig {
	return ExchangeConfig{
		Server: server, Challenge: Challenge{Operation: o, Request: narrow, Response: above, Service: ":8080"},
		Timeout: time.Minute, Random: rand.Reader,
	}
}

func TestExchange(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		for _, server := range []string{"127.0.0.1", "::1"} {
			t.Run(server, func(t *testing.T) {
				o := newOperation(t, a, false)
				g := newTestServer(t, o, nil)
				var events []Event
				cfg := exchangeConfig(o, server)
				cfg.CheckBefore = true
				cfg.Report = func(e Event) { events = append(events, e) }
				r, err := Exchange(t.Context(), cfg)
				if err != nil || r.Service != netip.AddrPortFrom(netip.MustParseAddr(server), 8080) || r.Attempts != 1 || r.SingleUse || r.OpenBefore {
					t.Fatalf("%+v, %v", r, err)
				}
				if got := g.grants(); len(got) != 1 || got[0].Client() != netip.MustParseAddr(server) {
					t.Errorf("granted %v", got)
				}
				if len(events) != 3 {
					t.Errorf("events %v", events)
				}
				// On a busy machine, the answer may come too late to count.
				netns.Until(t, "an answer of the service that is open", func() bool {
					r, err := Exchange(t.Context(), cfg)
					if err != nil {
						t.Fatal(err)
					}
					return r.OpenBefore
				})
			})
		}
	}
}

// TestExchangeAddresses: two of three addresses are dead. The first attempt goes on to the
// third, and responds there only.
func TestExchangeAddresses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dead := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "client", Addresses: []string{"198.51.100.1/24"}}, dead,
		netns.End{Name: "dead", Addresses: []string{"198.51.100.2/24", "198.51.100.3/24"}})
	o := newOperation(t, exchange.NATAware, false)
	g := newTestServer(t, o, nil)
	cfg := exchangeConfig(o, "gate.invalid")
	for _, a := range []string{"198.51.100.2", "198.51.100.3", "127.0.0.1"} {
		cfg.Addresses = append(cfg.Addresses, netip.MustParseAddr(a))
	}
	var to []netip.Addr
	answered := 0
	cfg.Report = func(e Event) {
		switch e := e.(type) {
		case Requested:
			to = append(to, e.Address)
		case Answered:
			answered++
		case Unanswered:
			t.Errorf("given up: %+v", e)
		}
	}
	r, err := Exchange(t.Context(), cfg)
	if err != nil || r.Attempts != 1 || r.Address != cfg.Addresses[2] || r.Lost != (Lost{}) {
		t.Errorf("%+v, %v", r, err)
	}
	if !slices.Equal(to, cfg.Addresses) || answered != 1 || len(g.grants()) != 1 {
		t.Errorf("requests to %v, %d responses, %d grants", to, answered, len(g.grants()))
	}
}

// TestExchangeRetries: the first challenge is lost or forged.
func TestExchangeRetries(t *testing.T) {
	if testing.Short() {
		t.Skip("waits between attempts")
	}
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.NATAware, false)
	forge := func(payload []byte) []byte {
		forged := bytes.Clone(payload)
		forged[10] ^= 1
		return forged
	}
	for name, mangle := range map[string]func(n int, payload []byte) [][]byte{
		"lost":   func(n int, p []byte) [][]byte { return map[bool][][]byte{true: nil, false: {p}}[n == 1] },
		"forged": func(n int, p []byte) [][]byte { return map[bool][][]byte{true: {forge(p)}, false: {p}}[n == 1] },
	} {
		t.Run(name, func(t *testing.T) {
			g := newTestServer(t, o, mangle)
			cfg := exchangeConfig(o, "127.0.0.1")
			// A busy machine may need more than two attempts.
			cfg.Attempts, cfg.Timeout = 100, time.Second
			r, err := Exchange(t.Context(), cfg)
			challenges, grants := int(g.challenges.Load()), len(g.grants())
			if err != nil || r.Attempts < 2 || challenges != r.Attempts || grants != 1 {
				t.Errorf("%+v, %v; %d challenges, %d grants", r, err, challenges, grants)
			}
		})
	}
	// The client ignores forged challenges, and responds to the authentic one.
	t.Run("among others", func(t *testing.T) {
		newTestServer(t, o, func(_ int, p []byte) [][]byte {
			return [][]byte{nil, []byte("nonsense"), forge(p), make([]byte, 500), p}
		})
		if r, err := Exchange(t.Context(), exchangeConfig(o, "127.0.0.1")); err != nil || r.Attempts != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestForgedChallenge: a forger answers each request of Algorithm 1 faster than the
// server. The client gets in, though not at the first attempt.
func TestForgedChallenge(t *testing.T) {
	if testing.Short() {
		t.Skip("waits between attempts")
	}
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	g := newTestServer(t, newOperation(t, exchange.Unilateral, false), func(_ int, p []byte) [][]byte {
		forged := bytes.Clone(p)
		forged[0] ^= 1
		return [][]byte{forged, p, p}
	})
	cfg := exchangeConfig(newOperation(t, exchange.Unilateral, false), "127.0.0.1")
	cfg.Attempts, cfg.Timeout = 1, 500*time.Millisecond
	netns.Until(t, "a hint of the forged challenge", func() bool {
		_, err := Exchange(t.Context(), cfg)
		var offline *OfflineError
		if !errors.As(err, &offline) {
			t.Fatalf("answered %d challenges, %v", g.challenges.Load(), err)
		}
		return strings.Contains(offline.Hint(), "different challenges came for one request")
	})
	cfg.Attempts = 100
	r, err := Exchange(t.Context(), cfg)
	if err != nil || r.Attempts < 2 || len(g.grants()) != 1 {
		t.Errorf("%+v, %v, granted %v", r, err, g.grants())
	}
}

// TestEarlyChallenge: a challenge that arrives before the request is complete is forged.
// With Algorithm 1, the client does not see that in the challenge.
func TestEarlyChallenge(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.Unilateral, false)
	delays := challenge.Encoding{Scheme: challenge.Delays, Base: 20000, DataBits: 8, Delay: 100 * time.Millisecond}
	codec, err := delays.Codec(o.RequestSize(false))
	if err != nil {
		t.Fatal(err)
	}
	local := netip.MustParseAddr("127.0.0.1")
	i, err := exchange.NewInitiator(o, local, local, [exchange.NonceSize]byte{})
	if err != nil {
		t.Fatal(err)
	}
	ports, err := codec.AppendPorts(nil, i.Request())
	if err != nil {
		t.Fatal(err)
	}
	forger, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, ports[0])))
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	s, err := newExchangeConn(local)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	forge := func() {
		at := s.LocalAddr().(*net.UDPAddr).AddrPort()
		if _, err := forger.WriteToUDPAddrPort(make([]byte, o.ChallengeSize(false)), at); err != nil {
			t.Error(err)
		}
	}
	go func() {
		b := make([]byte, 1)
		for {
			if _, _, err := forger.ReadFromUDPAddrPort(b); err != nil {
				return
			}
			forge()
		}
	}()
	if err := s.sendRequest(t.Context(), codec, i); err != nil {
		t.Fatal(err)
	}
	var found exchangeFindings
	if _, err := s.nextChallenge(i, time.Now().Add(50*time.Millisecond), &found); err == nil {
		t.Error("the client accepted a challenge from before the end of its request")
	}
	forge()
	if _, err := s.nextChallenge(i, netns.Deadline(t), &found); err != nil {
		t.Errorf("after the request: %v", err)
	}
}

// TestLossIsReported: if no attempt opened the service, hints name lost packets as far
// as they are the cause.
func TestLossIsReported(t *testing.T) {
	if testing.Short() {
		t.Skip("waits between attempts")
	}
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.NATAware, false)
	newTestServer(t, o, func(n int, p []byte) [][]byte { return map[bool][][]byte{true: nil, false: {p}}[n%2 == 1] })
	cfg := exchangeConfig(o, "127.0.0.1")
	cfg.Service = ":9" // the operation does not open it
	cfg.Attempts, cfg.Timeout = 2, time.Second
	netns.Until(t, "one attempt without a challenge, and one with", func() bool {
		_, err := Exchange(t.Context(), cfg)
		var offline *OfflineError
		if !errors.As(err, &offline) {
			t.Fatal(err)
		}
		hint := offline.Hint()
		if strings.Contains(hint, "the secret differs") || offline.Reason == ReasonChallengeForged {
			t.Errorf("the challenge was authentic, but: %s: %s", offline.Reason, hint)
		}
		return strings.Contains(hint, "packets of the responses were lost on the way") &&
			strings.Contains(hint, "packets were lost on the way: one attempt received no challenge") &&
			strings.Contains(hint, "; one attempt received one")
	})
}

// TestImpersonatedServer: the client sends no packet of a response to a forged
// challenge of Algorithm 3.
func TestImpersonatedServer(t *testing.T) {
	if testing.Short() {
		t.Skip("waits between attempts")
	}
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.Mutual, false)
	g := newTestServer(t, o, func(_ int, p []byte) [][]byte {
		rand.Read(p[4:])
		return [][]byte{p}
	})
	cfg := exchangeConfig(o, "127.0.0.1")
	cfg.Attempts, cfg.Timeout = 2, 500*time.Millisecond
	netns.Until(t, "both challenges in time", func() bool {
		_, err := Exchange(t.Context(), cfg)
		var offline *OfflineError
		if !errors.As(err, &offline) {
			t.Fatalf("got %v", err)
		}
		return strings.Contains(offline.Hint(), "2 challenges were not authentic") && offline.Reason == ReasonChallengeForged
	})
	if g.responses.Load() != 0 || len(g.grants()) != 0 {
		t.Errorf("%d packets of a response, granted %v", g.responses.Load(), g.grants())
	}
}

func TestExchangeWithoutServer(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	cfg := exchangeConfig(newOperation(t, exchange.NATAware, false), "127.0.0.1")
	cfg.Attempts, cfg.Timeout = 1, 50*time.Millisecond
	_, err := Exchange(t.Context(), cfg)
	var offline *OfflineError
	if !errors.As(err, &offline) || !strings.Contains(offline.Hint(), "received no challenge") || offline.Reason != ReasonNoChallenge {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cfg.Timeout = time.Minute
	cfg.Report = func(e Event) {
		if _, ok := e.(Requested); ok {
			cancel()
		}
	}
	if _, err := Exchange(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestRandomPort: without Keep, Exchange does not connect to a random port.
func TestRandomPort(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.NATAware, true)
	newTestServer(t, o, nil)
	r, err := Exchange(t.Context(), exchangeConfig(o, "127.0.0.1"))
	if err != nil || !r.SingleUse || r.Service.Port() != 30000 || r.Conn != nil {
		t.Errorf("%+v, %v", r, err)
	}
	cfg := exchangeConfig(o, "127.0.0.1")
	cfg.Keep = true
	if r, err = Exchange(t.Context(), cfg); err != nil || r.Conn == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	defer r.Conn.Close()
	b := make([]byte, 7)
	if _, err := r.Conn.Read(b); err != nil || b[0] != 'w' {
		t.Errorf("%q, %v", b, err)
	}
}

// TestExchangeBothFamilies: the operation is executed for both address families, if both
// work, unless the caller keeps the connection, or has chosen a family.
func TestExchangeBothFamilies(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	four, six := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for name, row := range map[string]struct {
		change func(*ExchangeConfig)
		want   []netip.Addr
	}{
		"both":      {func(*ExchangeConfig) {}, []netip.Addr{four, six}},
		"no watch":  {func(c *ExchangeConfig) { c.Watch = WatchNone }, []netip.Addr{four, six}},
		"IPv6 only": {func(c *ExchangeConfig) { c.Family = IPv6 }, []netip.Addr{six}},
		"keep":      {func(c *ExchangeConfig) { c.Keep = true }, []netip.Addr{four}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOperation(t, exchange.NATAware, false)
			g := newTestServer(t, o, nil)
			cfg := exchangeConfig(o, "gate.invalid")
			cfg.Addresses = []netip.Addr{four, six}
			row.change(&cfg)
			// On a busy machine, the second family may take too long, or the first one.
			netns.Until(t, "an exchange for each family", func() bool {
				before := len(g.grants())
				r, err := Exchange(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if r.Conn != nil {
					r.Conn.Close()
				}
				var clients []netip.Addr
				for _, grant := range g.grants()[before:] {
					clients = append(clients, grant.Client())
				}
				if len(clients) > len(row.want) {
					t.Fatalf("granted %v, want %v", clients, row.want)
				}
				var also []netip.AddrPort
				if r.Watched && len(row.want) > 1 {
					also = append(also, netip.AddrPortFrom(row.want[1], 8080))
				}
				return slices.Equal(clients, row.want) && slices.Equal(r.Also, also)
			})
		})
	}
}
