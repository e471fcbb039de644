package daemon

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/verify/preamble"
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
