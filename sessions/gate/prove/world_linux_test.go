package prove

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/preamble"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// world is a Prover of the service "ssh" with its clients com1 and com2, at a port of the
// loopback, and a service that sends back what it gets.
type world struct {
	t         testing.TB
	prover    *Prover
	authority *Authority
	sessions  *sessions.Sessions
	listener  net.Listener
	close     func() // the listener
	before    uint64 // see refused
	nonce     atomic.Uint32
	ahead     atomic.Int64 // seconds: the wall clock of the server

	mu      sync.Mutex
	journal func([]sessions.Entry) error
	leases  map[wire.Identifier]bool
	stays   bool                             // Try admits the address
	owned   map[*net.TCPConn]wire.Identifier // with a proof, and not cut
	passed  int
	denied  [NumOutcomes]uint64 // what Denied got
}

// Record implements sessions.Journal.
func (w *world) Record(e []sessions.Entry) []error {
	w.mu.Lock()
	journal := w.journal
	w.mu.Unlock()
	if err := journal(e); err != nil {
		return slices.Repeat([]error{err}, len(e))
	}
	return nil
}

// Open implements sessions.Gate.
func (w *world) Open([]sessions.Grant) []error { return nil }

func newWorld(t testing.TB, cfg Config) *world {
	t.Helper()
	w := &world{
		t: t, authority: new(Authority), stays: true, journal: func([]sessions.Entry) error { return nil },
		leases: map[wire.Identifier]bool{verifytest.ID("com1"): true, verifytest.ID("com2"): true},
		owned:  map[*net.TCPConn]wire.Identifier{},
	}
	w.begin()
	w.authority.SetDenied(func(service string, client wire.Identifier, from netip.Addr, o Outcome) {
		if service != "ssh" || client != verifytest.ID("com1") && client != verifytest.ID("com2") || !from.IsLoopback() {
			t.Errorf("denied at %s: %s from %s", service, client, from)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.denied[o]++
	})
	w.rules("com1", "com2")
	cfg.Service, cfg.Authority, cfg.Wall = "ssh", w.authority, w.now
	var err error
	if w.prover, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	w.prover.SetLeases(func(id wire.Identifier, from netip.Addr) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.leases[id] && from.IsLoopback()
	})
	if w.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	w.serve()
	return w
}

// serve makes the prover accept.
func (w *world) serve() {
	w.t.Helper()
	stop, err := w.prover.Serve(w.listener, w)
	if err != nil {
		w.t.Fatal(err)
	}
	w.close = sync.OnceFunc(func() { w.listener.Close(); stop() })
	w.t.Cleanup(w.close)
}

// begin runs sessions whose windows are empty.
func (w *world) begin() {
	var clients []sessions.Client
	for _, id := range []string{"com1", "com2"} {
		id := verifytest.ID(id)
		clients = append(clients, sessions.Client{Identifier: id, Current: sessions.Secret{Fingerprint: verifytest.Fingerprint(id)}})
	}
	s, err := sessions.New(sessions.Config{Clients: clients, Gate: w, Journal: w, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	w.t.Cleanup(func() { stop(); <-done })
	w.sessions = s
	w.authority.SetNonces(s)
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load()) * time.Second) }

func (w *world) rules(ids ...string) {
	w.authority.SetRules(verify.Rules{Table: verifytest.Table(w.t, verifytest.Clients(ids...)...), Tolerance: time.Minute})
}

// Try implements Target.
func (w *world) Try(from netip.Addr) (netip.Prefix, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return netip.PrefixFrom(from, from.BitLen()), w.stays
}

// Own implements Target.
func (w *world) Own(c *net.TCPConn, client wire.Identifier) (net.Conn, Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owned[c] = client
	return c, Passed
}

// Refuse implements Target.
func (w *world) Refuse(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.owned, c.(*net.TCPConn))
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// Pass implements Target.
func (w *world) Pass(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, lives := w.owned[c.(*net.TCPConn)]; !lives {
		return false
	}
	w.passed++
	go func() {
		defer c.Close()
		io.WriteString(c, "hello ")
		io.Copy(c, c)
	}()
	return true
}

// revoke ends all that a client has.
func (w *world) revoke(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leases[verifytest.ID(id)] = false
	for c, client := range w.owned {
		if client == verifytest.ID(id) {
			delete(w.owned, c)
			c.SetLinger(0)
			c.Close()
		}
	}
}

// record sets what the journal does.
func (w *world) record(f func([]sessions.Entry) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.journal = f
}

// dial connects. All tests end in time, as each connection does.
func (w *world) dial() *net.TCPConn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.TCPConn)
}

// client returns the client's side of a connection of com1.
func (w *world) client() *preamble.Client { return w.handshake("ssh", "com1") }

func (w *world) handshake(service, id string) *preamble.Client {
	w.t.Helper()
	return verifytest.Handshake(w.t, service, id, uint32(time.Now().Unix()), w.nonce.Add(1))
}

// send sends bytes, and returns whether that was possible.
func send1(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatalf("send %d bytes: %v", len(b), err)
	}
}

// first sends a preamble.
func first(t testing.TB, c net.Conn, p *preamble.Client) {
	t.Helper()
	b := p.Preamble()
	send1(t, c, b[:])
}

// answerOf reads the server's answer.
func answerOf(t testing.TB, c net.Conn) []byte {
	t.Helper()
	b := make([]byte, preamble.AnswerSize)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	return b
}

// proofOf reads the server's answer, and makes the proof.
func proofOf(t testing.TB, c net.Conn, p *preamble.Client) []byte {
	t.Helper()
	proof, err := p.Answer(answerOf(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return proof[:]
}

// wantService expects the service at the other end.
func wantService(t testing.TB, c net.Conn) {
	t.Helper()
	send1(t, c, []byte("you"))
	b := make([]byte, len("hello you"))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != "hello you" {
		t.Errorf("the service sent %q: %v", b[:n], err)
	}
}

// wantReset expects a reset without a byte.
func wantReset(t testing.TB, c net.Conn) {
	t.Helper()
	b := make([]byte, 100)
	if n, err := c.Read(b); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %d bytes and %v, want a reset", n, err)
	}
}

// wantCounts waits until the counters are these, and expects no other.
func (w *world) wantCounts(want map[Outcome]uint64) {
	w.t.Helper()
	var all [NumOutcomes]uint64
	for o, n := range want {
		all[o] = n
	}
	end := time.Now().Add(30 * time.Second)
	for ; w.authority.Stats() != all && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if got := w.authority.Stats(); got != all {
		w.t.Errorf("counted %v, want %v", got, all)
	}
	// Those whose preamble is authentic have been passed on, each once. The end of a listener
	// revokes others, too.
	netns.Until(w.t, "the denied connections are passed on", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.denied[NoLease] == all[NoLease] && w.denied[Used] == all[Used] && w.denied[Revoked] <= all[Revoked] && w.denied[Unrecorded] == all[Unrecorded]
	})
}
