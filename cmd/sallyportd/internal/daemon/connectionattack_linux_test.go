package daemon

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/prove"
	"sallyport/verify/preamble"
	"sallyport/verify/wire"
)

// pendingProof is a connection that has the answer to its preamble, and its proof.
type pendingProof struct {
	net.Conn
	proof []byte
}

// pendingOf makes a connection send a preamble, and read the answer.
func pendingOf(t *testing.T, c net.Conn, p *preamble.Client) pendingProof {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	first, answer := p.Preamble(), make([]byte, preamble.AnswerSize)
	if _, err := c.Write(first[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, answer); err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	proof, err := p.Answer(answer)
	if err != nil {
		t.Fatal(err)
	}
	return pendingProof{c, proof[:]}
}

// passes sends the proof with a request, and returns whether the service answers it. A
// connection that does not pass must be reset without a byte.
func (p pendingProof) passes(t *testing.T) bool {
	t.Helper()
	if _, err := p.Write(append(p.proof, "GET /page HTTP/1.0\r\n\r\n"...)); err != nil {
		return false
	}
	n, err := p.Read(make([]byte, 100))
	if err != nil && (n > 0 || !errors.Is(err, syscall.ECONNRESET)) {
		t.Errorf("got %d bytes and %v, want a reset", n, err)
	}
	return n > 0
}

// dial connects from the client's host to the web server.
func (w *world) dial(t *testing.T) (c net.Conn) {
	t.Helper()
	err := w.host.Do(func() (err error) {
		c, err = net.Dial("tcp", net.JoinHostPort(server4, web))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestNeighboursOfOneConnection: with max_connections = 1, a neighbour at the client's
// address that connects, and sends nothing, does not end the client's handshake.
func TestNeighboursOfOneConnection(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(s *setup) { s.web = "bind = \"connection\"\nmax_connections = 1\nopen_for = \"1m\"\n" })
	w.sendSequence(t, "com1", 0)
	w.until(t, "a lease", w.listening)
	pending := pendingOf(t, w.dial(t), w.preambleOf(t, "com1", "web", 10))
	for range 20 {
		w.dial(t)
	}
	if !pending.passes(t) {
		t.Errorf("the client gave way: %v", w.server.connections.Stats())
	}
}

// proves is a version whose services require proofs.
func proves() version {
	v := old
	v.web = "bind = \"connection\"\nopen_for = \"10m\"\nopen_max = \"10m\"\nconnections = \"keep\""
	return v
}

// pending makes a connection of a client to the first service, whose proof is not sent.
func (r *reloadable) pending(t *testing.T, id, secret string) pendingProof {
	t.Helper()
	r.sent += 10
	at := uint32(r.env.Clock.Wall().Unix())
	p, err := preamble.NewClient("web", wire.Identifier([]byte(id)), at, r.sent, preamble.SecretMAC([]byte(secret)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	return pendingOf(t, c, p)
}

// TestProofAfterTheClientLostIt: whatever ends the right or the lease of a client between
// its preamble and its proof, no byte passes; and what concerns others does not matter.
func TestProofAfterTheClientLostIt(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	id := wire.Identifier([]byte("left"))
	clientsFile := func(text string) func(*testing.T, *reloadable, *clocktest.Host) {
		return func(t *testing.T, r *reloadable, _ *clocktest.Host) {
			r.clients(t, text)
			if _, err := r.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	const stay = "stay the-old-secret-of-a-client 0 services=web\n"
	for name, row := range map[string]struct {
		end    func(*testing.T, *reloadable, *clocktest.Host)
		passes bool
		counts prove.Outcome
	}{
		"nothing": {end: func(*testing.T, *reloadable, *clocktest.Host) {}, passes: true, counts: prove.Passed},
		"a reload": {passes: true, counts: prove.Passed, end: func(t *testing.T, r *reloadable, _ *clocktest.Host) {
			if _, err := r.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
		"another client is removed":    {end: clientsFile("left the-old-secret-of-a-client 0\n"), passes: true, counts: prove.Passed},
		"the old secret of a rotation": {end: clientsFile("left the-new-secret-of-a-client 0 old=the-old-secret-of-a-client until=2100-01-01T00:00:00Z\n" + stay), passes: true, counts: prove.Passed},
		"the client is removed":        {end: clientsFile(stay), counts: prove.NoLease},
		"a new secret":                 {end: clientsFile("left the-new-secret-of-a-client 0\n" + stay), counts: prove.NoLease},
		"no right to the service":      {end: clientsFile("left the-old-secret-of-a-client 0 services=two\n" + stay), counts: prove.NoLease},
		"expired by the file":          {end: clientsFile("left the-old-secret-of-a-client 0 expires=2026-01-01T00:00:00Z\n" + stay), counts: prove.NoLease},
		"the administrator has closed": {counts: prove.NoLease, end: func(_ *testing.T, r *reloadable, _ *clocktest.Host) {
			r.gate.EndLeases(func(l gate.Lease) bool { return l.Client == id }, false, gate.ByAdministrator)
		}},
		"the client has closed": {counts: prove.NoLease, end: func(t *testing.T, r *reloadable, _ *clocktest.Host) {
			r.deliver(t, r.closing(t, "left"))
			netns.Until(t, "the leases to end", func() bool { return len(r.gate.Leases()) == 1 })
		}},
		"the time of all leases is over, and the service closes": {counts: prove.Revoked, end: func(t *testing.T, r *reloadable, host *clocktest.Host) {
			host.Pass(11 * time.Minute)
			netns.Until(t, "the service to close", func() bool { return r.connections.Stats()[prove.Revoked] == 1 })
		}},
		"revoked": {counts: prove.NoLease, end: func(t *testing.T, r *reloadable, _ *clocktest.Host) {
			r.clients(t, stay)
			if _, err := r.Restrict(t.Context(), admin.Restriction{Client: "left"}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			host := clocktest.NewHost()
			r := startVersion(t, false, proves(), Env{Clock: host.Clock(), Log: slog.New(slog.DiscardHandler)})
			if !r.knocks(t, "stay") || !r.knocks(t, "left") {
				t.Fatal("not let in")
			}
			netns.Until(t, "the leases", func() bool { return len(r.gate.Leases()) == 3 })
			own := r.pending(t, "left", old.secret)
			row.end(t, r, host)
			if got := own.passes(t); got != row.passes {
				t.Errorf("passes: %t", got)
			}
			var want [prove.NumOutcomes]uint64
			want[row.counts] = 1
			netns.Until(t, fmt.Sprintf("the counters %v", want), func() bool { return r.connections.Stats() == want })
		})
	}
}
