package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/ingest/web"
	"sallyport/sessions/client/carriers"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/preamble"
	"sallyport/verify/schedule"
)

// responders is a server of exchanges by carriers. It opens a port when one is proved.
type responders struct {
	*testing.T
	operation *exchange.Operation
	server    netip.Addr // PID_B of a RequestConnection; of other requests it is the client's
	mask      []byte     // of requests; nil: none

	mu      sync.Mutex
	waiting map[carrier.Exchange]*waiting
	kinds   []carrier.Kind // of requests
	proofs  []exchange.Proof
	opens   string // address and port
	opened  []net.Listener
}

type waiting struct {
	request, challenge []byte
	pending            exchange.Pending
}

func newResponders(t *testing.T, o *exchange.Operation, by, name string) *responders {
	r := &responders{T: t, operation: o, server: carrier.ServerOf(by, name), waiting: map[carrier.Exchange]*waiting{}}
	t.Cleanup(func() {
		for _, l := range r.opened {
			l.Close()
		}
	})
	return r
}

// requested returns the kinds of requests, and proved the proofs.
func (r *responders) requested() []carrier.Kind {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.kinds)
}

func (r *responders) proved() []exchange.Proof {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.proofs)
}

func (r *responders) Request(dst []byte, m *carrier.Message, client netip.Addr, _ time.Time) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.waiting[m.Exchange]; w != nil {
		return append(dst, w.challenge...), bytes.Equal(w.request, m.Bytes())
	}
	r.kinds = append(r.kinds, m.Kind)
	from, server := client, client // over the loopback
	if m.Kind == carrier.RequestConnection {
		from, server = carrier.ClientOf(m.Exchange), r.server
	}
	unmasked := bytes.Clone(m.Bytes())
	for i := range r.mask {
		if i < len(unmasked) {
			unmasked[i] ^= r.mask[i]
		}
	}
	request, err := exchange.ParseRequest(r.operation, m.Kind != carrier.Request4, unmasked)
	if err != nil {
		return dst, false
	}
	var nonce [exchange.NonceSize]byte
	rand.Read(nonce[:])
	challenge, pending, err := request.Challenge(nil, from, server, nonce, 30000)
	if err != nil {
		r.Error(err)
		return dst, false
	}
	r.waiting[m.Exchange] = &waiting{bytes.Clone(m.Bytes()), challenge, pending}
	return append(dst, challenge...), true
}

func (r *responders) Response(m *carrier.Message, _ time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waiting[m.Exchange]
	if w == nil {
		return
	}
	p, ok := w.pending.Verify(m.Bytes())
	if w.pending = (exchange.Pending{}); !ok {
		return
	}
	r.proofs = append(r.proofs, p)
	l, err := net.Listen("tcp", r.opens)
	if err != nil {
		return // it listens already
	}
	r.opened = append(r.opened, l)
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

// serve serves exchanges over HTTPS, behind whatever stands in front.
func (r *responders) serve(front func(http.Handler) http.Handler) *httptest.Server {
	site := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Write([]byte("<!DOCTYPE html>welcome to this site"))
	})
	h, err := web.NewHTTP(web.HTTPConfig{Site: site, Exchanges: r})
	if err != nil {
		r.Fatal(err)
	}
	s := httptest.NewUnstartedServer(front(h))
	s.EnableHTTP2 = true
	s.StartTLS()
	r.Cleanup(s.Close)
	return s
}

func alone(h http.Handler) http.Handler { return h }

// carriedConfig is the configuration of a client of a server without packets.
func carriedConfig(o *exchange.Operation, s *httptest.Server) ExchangeConfig {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return ExchangeConfig{
		Server: "127.0.0.1", Challenge: Challenge{Operation: o, HTTPS: s.URL, Service: ":8080"},
		Timeout: time.Minute, CarrierTime: time.Minute, Random: rand.Reader, Roots: roots,
		Proxy: func(*url.URL) (*url.URL, error) { return nil, nil },
	}
}

// TestExchangeHTTPS: each algorithm, for an address and for a random port, by HTTP/2.
func TestExchangeHTTPS(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		for _, random := range []bool{false, true} {
			o := newOperation(t, a, random)
			r := newResponders(t, o, carrier.HTTP, "127.0.0.1")
			r.opens = "127.0.0.1:8080"
			if random {
				r.opens = "127.0.0.1:30000"
			}
			major := 0
			s := r.serve(func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
					major = q.ProtoMajor
					h.ServeHTTP(w, q)
				})
			})
			cfg := carriedConfig(o, s)
			cfg.Keep = true
			var events []Event
			cfg.Report = func(e Event) { events = append(events, e) }
			got, err := Exchange(t.Context(), cfg)
			if err != nil || got.Service.String() != r.opens || got.SingleUse != random || got.Carrier != CarrierHTTPS || got.Conn == nil {
				t.Fatalf("algorithm %d: %+v, %v", a, got, err)
			}
			got.Conn.Close()
			if !slices.Equal(r.requested(), []carrier.Kind{carrier.Request4}) || len(r.proved()) != 1 || major != 2 || len(events) != 3 {
				t.Errorf("kinds %v, %d proofs, HTTP/%d, events %+v", r.requested(), len(r.proved()), major, events)
			}
			if p := r.proved()[0]; p.Client() != netip.MustParseAddr("127.0.0.1") {
				t.Errorf("proved for %s", p.Client())
			}
			for _, l := range r.opened {
				l.Close()
			}
		}
	}
}

// TestExchangeForConnection: an exchange for a connection names no address, is one for all
// addresses of the server, and one for a tunnel has its ticket.
func TestExchangeForConnection(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.Mutual, false)
	r := newResponders(t, o, carrier.HTTP, "127.0.0.1")
	r.opens = "[::1]:8080"
	cfg := carriedConfig(o, r.serve(alone))
	cfg.Server, cfg.Addresses = "localhost", []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
	cfg.Challenge.Bind, cfg.Challenge.ServiceName = BindConnection, "web"
	got, err := Exchange(t.Context(), cfg)
	if err != nil || !got.Watched || got.Service.String() != r.opens || got.Attempts != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if !slices.Equal(r.requested(), []carrier.Kind{carrier.RequestConnection}) || len(r.proved()) != 1 || r.proved()[0].Client() != carrier.ClientOf(onlyKey(r.waiting)) {
		t.Errorf("kinds %v, proofs %v", r.requested(), r.proved())
	}

	clear(r.waiting)
	there, here := net.Pipe()
	defer there.Close()
	tunnel := &testTunnel{stream: pipeStream{here}}
	cfg.Challenge.Bind, cfg.Challenge.ServiceName = BindAddress, ""
	cfg.Challenge.Tunnel, cfg.Tunnel, cfg.Keep = true, tunnel, true
	got, err = Exchange(t.Context(), cfg)
	if err != nil || got.Tunnel != tunnel.stream || got.Conn != nil || len(r.proved()) != 2 {
		t.Fatalf("%+v, %v, %d proofs", got, err, len(r.proved()))
	}
	if tunnel.x != onlyKey(r.waiting) || tunnel.ticket != r.proved()[1].Ticket() || tunnel.way.URL().String() != cfg.Challenge.HTTPS+"/" {
		t.Errorf("a tunnel of the exchange %d by %s", tunnel.x, tunnel.way.URL())
	}
	tunnel.way.Close()

	// A probe shows that the tunnel is the way, and opens nothing.
	cfg.Keep, cfg.Probe = false, true
	probe, err := Exchange(t.Context(), cfg)
	if err != nil || !probe.ByTunnel || probe.Tunnel != nil || probe.Carrier != CarrierHTTPS || len(r.proved()) != 2 {
		t.Errorf("a probe: %+v, %v, %d proofs", probe, err, len(r.proved()))
	}
	cfg.Keep, cfg.Probe = true, false
	tunnel.err, cfg.Attempts = errors.New("no tunnel here"), 1
	_, err = Exchange(t.Context(), cfg)
	var offline *OfflineError
	if !errors.As(err, &offline) || !strings.Contains(offline.Hint(), "no tunnel here") {
		t.Errorf("without a tunnel: %v", err)
	}
}

// TestTunnelProves: where connections prove themselves, a tunnel does so before the caller
// gets it, and one that does not reach the server is closed.
func TestTunnelProves(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for name, right := range map[string]bool{"the server": true, "another program": false} {
		o := newOperation(t, exchange.Mutual, false)
		cfg := carriedConfig(o, newResponders(t, o, carrier.HTTP, "127.0.0.1").serve(alone))
		cfg.Challenge.Bind, cfg.Challenge.ServiceName, cfg.Attempts = BindConnection, "web", 1
		cfg.Prover = newTestProver(t, time.Now)
		there, here := net.Pipe()
		cfg.Challenge.Tunnel, cfg.Tunnel, cfg.Keep = true, &testTunnel{stream: pipeStream{here}}, true
		proved := make(chan error, 1)
		go func() {
			first := make([]byte, preamble.Size)
			_, err := io.ReadFull(there, first)
			answer := answerTo(t, first)
			if !right {
				answer[len(answer)-1] ^= 1
			}
			there.Write(answer)
			if err == nil {
				_, err = io.ReadFull(there, make([]byte, preamble.ProofSize))
			}
			proved <- err
		}()
		got, err := Exchange(t.Context(), cfg)
		if proof := <-proved; (proof == nil) != right || (err == nil) != right || (got.Tunnel != nil) != right {
			t.Errorf("%s: %+v, %v, the proof: %v", name, got, err, proof)
		}
		here.Close()
	}
}

func onlyKey(all map[carrier.Exchange]*waiting) carrier.Exchange {
	for x := range all {
		return x
	}
	return 0
}

type testTunnel struct {
	way    *carriers.HTTP
	x      carrier.Exchange
	ticket [16]byte
	stream pipeStream
	err    error
}

func (d *testTunnel) DialService(_ context.Context, way *carriers.HTTP, x carrier.Exchange, ticket [16]byte) (Stream, error) {
	d.way, d.x, d.ticket = way, x, ticket
	return d.stream, d.err
}

type pipeStream struct{ net.Conn }

func (pipeStream) CloseWrite() error { return nil }

// TestCarriedHop: with hop, the request is masked by its minute, with and without packets in
// the profile.
func TestCarriedHop(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.Mutual, false)
	r := newResponders(t, o, carrier.HTTP, "127.0.0.1")
	r.opens = "127.0.0.1:8080"
	cfg := carriedConfig(o, r.serve(alone))
	at := time.Unix(1_800_000_000, 0)
	cfg.Now = func() time.Time { return at }
	cfg.Challenge.Hop, cfg.Challenge.HopKey = 16, schedule.HopKey{1, 2, 3}
	hop := cfg.Challenge.HopKey.Hop(schedule.MinuteOf(at), cfg.Challenge.Hop)
	r.mask = hop.Mask[:]
	if got, err := Exchange(t.Context(), cfg); err != nil || len(r.proved()) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	r.mask, cfg.Attempts = nil, 1
	_, err := Exchange(t.Context(), cfg)
	if ReasonOf(err) != ReasonNoChallenge {
		t.Errorf("a request that is not masked: %v", err)
	}
	var offline *OfflineError
	if errors.As(err, &offline) && ClockState() != ClockSynchronised && !strings.Contains(offline.Hint(), "clock") {
		t.Errorf("hint %s", offline.Hint())
	}
}

// TestExchangeIsInterrupted: a caller that gives up does not wait for a server that does not
// answer.
func TestExchangeIsInterrupted(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := newOperation(t, exchange.Mutual, false)
	s := newResponders(t, o, carrier.HTTP, "127.0.0.1").serve(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
			cancel()
			<-q.Context().Done()
		})
	})
	cfg := carriedConfig(o, s)
	cfg.CarrierTime = 24 * time.Hour
	if _, err := Exchange(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestExchangeWithoutPost: a proxy refuses POST requests, and the messages go in paths.
func TestExchangeWithoutPost(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, status := range []int{403, 405, 411, 413, 415, 501} {
		o := newOperation(t, exchange.NATAware, false)
		r := newResponders(t, o, carrier.HTTP, "127.0.0.1")
		r.opens = "127.0.0.1:8080"
		s := r.serve(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if q.Method == http.MethodPost {
					http.Error(w, "no", status)
					return
				}
				h.ServeHTTP(w, q)
			})
		})
		got, err := Exchange(t.Context(), carriedConfig(o, s))
		if err != nil || !got.Watched || got.Attempts != 1 || len(r.proved()) != 1 {
			t.Errorf("%d: %+v, %v, %d proofs", status, got, err, len(r.proved()))
		}
		for _, l := range r.opened {
			l.Close()
		}
	}
}

// TestMiddleMen: what answers in the server's place becomes a reason and a hint.
func TestMiddleMen(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	status := func(code int) func(http.Handler) http.Handler {
		return func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if code/100 == 3 {
					w.Header().Set("Location", "https://login.example/")
				}
				w.WriteHeader(code)
				w.Write([]byte("<!DOCTYPE html>log in"))
			})
		}
	}
	for _, row := range []struct {
		name   string
		front  func(http.Handler) http.Handler
		change func(*ExchangeConfig)
		reason Reason
		hint   string
	}{
		{"a page", status(200), nil, ReasonNoChallenge, "does not have operation"},
		{"not found", status(404), nil, ReasonNoChallenge, "does not have operation"},
		{"a redirect", status(302), nil, ReasonCaptivePortal, "requires a login"},
		{"511", status(511), nil, ReasonCaptivePortal, "requires a login"},
		{"refused", status(403), nil, ReasonProxy, "refuses these requests"},
		{"no method", status(405), nil, ReasonProxy, "refuses these requests"},
		{"a login of a proxy", status(407), nil, ReasonProxy, "HTTPS_PROXY"},
		{"a gateway", status(502), nil, ReasonGateway, "the server behind it does not"},
		{"no upstream", status(504), nil, ReasonGateway, "the server behind it does not"},
		{"too many", status(429), nil, ReasonBusy, "limits requests"},
		{"another certificate", alone, func(cfg *ExchangeConfig) { cfg.Roots = x509.NewCertPool() }, ReasonCertificate, "reads encrypted connections"},
		{"another name", alone, func(cfg *ExchangeConfig) {
			cfg.Server, cfg.Addresses = "localhost", []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			cfg.Challenge.HTTPS = strings.Replace(cfg.Challenge.HTTPS, "127.0.0.1", "localhost", 1)
		}, ReasonCertificate, "another host answers"},
		{"another operation", alone, func(cfg *ExchangeConfig) {
			cfg.Challenge.Operation, _ = exchange.NewOperation("another", "the secret", exchange.NATAware, false)
		}, ReasonNoChallenge, "does not have operation \"another\", or not with this algorithm, or no use of it is left"},
		{"another secret", alone, func(cfg *ExchangeConfig) {
			cfg.Challenge.Operation, _ = exchange.NewOperation("open-it", "not the secret", exchange.NATAware, false)
		}, ReasonChallengeForged, "differs from the server's"},
		{"no server", alone, func(cfg *ExchangeConfig) {
			cfg.Challenge.HTTPS = "https://127.0.0.1:1"
		}, ReasonUnreachable, "does not let HTTPS out"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := newOperation(t, exchange.NATAware, false)
			r := newResponders(t, o, carrier.HTTP, "127.0.0.1")
			cfg := carriedConfig(o, r.serve(row.front))
			cfg.Attempts = 1
			if row.change != nil {
				row.change(&cfg)
			}
			_, err := Exchange(t.Context(), cfg)
			var offline *OfflineError
			if !errors.As(err, &offline) || offline.Reason != row.reason || !strings.Contains(offline.Hint(), row.hint) {
				t.Fatalf("%v, reason %q\n%s", err, ReasonOf(err), strings.Join(offline.Hints, "\n"))
			}
			if silent := row.name == "no server"; strings.Contains(err.Error(), "no answer") != silent {
				t.Error(err)
			}
			if len(r.proved()) > 0 {
				t.Error("proved")
			}
		})
	}
}

// TestTunnelIsInterrupted: a caller that gives up while the tunnel opens leaves no tunnel.
func TestTunnelIsInterrupted(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.Mutual, false)
	cfg := carriedConfig(o, newResponders(t, o, carrier.HTTP, "127.0.0.1").serve(alone))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	there, here := net.Pipe()
	defer here.Close()
	cfg.Challenge.Tunnel, cfg.Keep, cfg.Tunnel = true, true, interruptedTunnel{&testTunnel{stream: pipeStream{here}}, cancel}
	if got, err := Exchange(ctx, cfg); !errors.Is(err, context.Canceled) || got.Tunnel != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	there.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := there.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the tunnel is open: %v", err)
	}
}

// interruptedTunnel is one whose caller gives up just before it is open.
type interruptedTunnel struct {
	*testTunnel
	cancel func()
}

func (d interruptedTunnel) DialService(ctx context.Context, way *carriers.HTTP, x carrier.Exchange, ticket [16]byte) (Stream, error) {
	d.cancel()
	return d.testTunnel.DialService(ctx, way, x, ticket)
}
