package daemon

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/prove"
	"sallyport/verify/preamble"
	"sallyport/verify/wire"
)

// preambleOf returns the client's side of a connection to a service, with a nonce that
// is above those of the client's knocks.
func (w *world) preambleOf(t *testing.T, id, service string, nonce uint32) *preamble.Client {
	t.Helper()
	mac := preamble.SecretMAC([]byte("secret of " + id))
	p, err := preamble.NewClient(service, wire.Identifier([]byte(id)), uint32(w.clock.Now().Unix()), nonce, mac)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// prove connects from the client's host, proves the connection, and requests a page. It
// returns the status; 0: the server reset the connection.
func (w *world) prove(t *testing.T, p *preamble.Client) (status int) {
	t.Helper()
	var c net.Conn
	err := w.host.Do(func() (err error) {
		c, err = net.Dial("tcp", net.JoinHostPort(server4, web))
		return err
	})
	if err != nil {
		t.Errorf("connect: %v", err)
		return 0
	}
	return proveOver(t, c, p)
}

// proveOver is prove over a connection that stands.
func proveOver(t *testing.T, c net.Conn, p *preamble.Client) (status int) {
	t.Helper()
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	status, err := func() (int, error) {
		first := p.Preamble()
		if _, err := c.Write(first[:]); err != nil {
			return 0, err
		}
		answer := make([]byte, preamble.AnswerSize)
		if n, err := io.ReadFull(c, answer); err != nil {
			if n > 0 {
				t.Errorf("%d bytes before the end", n)
			}
			return 0, err
		}
		proof, err := p.Answer(answer)
		if err != nil {
			return 0, err
		}
		request := append(proof[:], "GET /test1.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"...)
		if _, err := c.Write(request); err != nil {
			return 0, err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, err
		}
		defer r.Body.Close()
		return r.StatusCode, nil
	}()
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("prove a connection: %v", err)
	}
	return status
}

// TestConnectionsProveThemselves: with bind = "connection", the lease does not suffice.
// A used nonce stays used after a restart.
func TestConnectionsProveThemselves(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	stateDir := t.TempDir()
	start := func(t *testing.T) *world {
		return newWorld(t, func(s *setup) {
			s.stateDir, s.web = stateDir, "bind = \"connection\"\nopen_for = \"1m\"\nopen_max = \"10m\"\n"
		})
	}
	var captured *preamble.Client
	t.Run("a client", func(t *testing.T) {
		w := start(t)
		if n, ok := w.server.Counters()["connection_passed"]; !ok || n != 0 {
			t.Errorf("the counter is %d, %t", n, ok)
		}
		w.sendSequence(t, "com1", 0)
		w.until(t, "a lease", w.listening)
		if status, err := w.get(server4, "/test1.html"); err == nil {
			t.Errorf("a browser gets %d", status)
		}
		captured = w.preambleOf(t, "com1", "web", 10)
		if status := w.prove(t, captured); status != http.StatusOK {
			t.Errorf("the client gets %d", status)
		}
		for name, p := range map[string]*preamble.Client{
			"with its preamble again": captured, "another client": w.preambleOf(t, "com2", "web", 10),
			"with the preamble of another service": w.preambleOf(t, "com1", "ssh", 11), "no client": w.preambleOf(t, "nobo", "web", 1),
		} {
			if status := w.prove(t, p); status != 0 {
				t.Errorf("%s: %d", name, status)
			}
		}
		w.sendSequence(t, "com1", 8) // its last nonce is that of the connection
		w.sendSequence(t, "com2", 0)
		w.until(t, "a lease of the second client", func() bool { return w.opened() == 2 })
		if status := w.prove(t, w.preambleOf(t, "com2", "web", 10)); status != http.StatusOK {
			t.Errorf("the second client gets %d", status)
		}
		got := w.server.connections.Stats()
		if got[prove.Passed] != 2 || got[prove.Used] != 1 || got[prove.MAC] != 2 || got[prove.NoLease] != 1 {
			t.Errorf("counted %v", got)
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		w := start(t)
		w.clock.pass(2)
		w.sendSequence(t, "com1", 20)
		w.until(t, "a lease", w.listening)
		if status := w.prove(t, captured); status != 0 {
			t.Errorf("with the preamble from before: %d", status)
		}
		if status := w.prove(t, w.preambleOf(t, "com1", "web", 10)); status != 0 {
			t.Errorf("with a nonce from before: %d", status)
		}
		if status := w.prove(t, w.preambleOf(t, "com1", "web", 30)); status != http.StatusOK {
			t.Errorf("with a new one: %d", status)
		}
	})
}
