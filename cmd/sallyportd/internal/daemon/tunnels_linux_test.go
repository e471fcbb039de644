package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/sessions/gate"
	carriedtable "sallyport/sessions/handshakes/carried"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/challenge/tunnel"
)

const tunnelOrigin = "https://" + siteName

// newTunnelWorld starts a server whose HTTPS listener takes tunnels.
func newTunnelWorld(t *testing.T, operations string, change ...func(*setup)) (w *world, keys string) {
	t.Helper()
	return newTunnelWorldOf(t, operations, 1024, change...)
}

// newTunnelWorldOf is newTunnelWorld with a number of connections at a time.
func newTunnelWorldOf(t *testing.T, operations string, connections int, change ...func(*setup)) (w *world, keys string) {
	t.Helper()
	cert, key := certificateFiles(t, t.TempDir())
	listener := fmt.Sprintf("tunnel = true\nconnections = %d\ntls_cert", connections)
	keys = strings.Replace(carrierKeys(cert, key, operations), "tls_cert", listener, 1)
	w = newWorld(t, func(s *setup) {
		s.web = keys
		for _, c := range change {
			c(s)
		}
	})
	w.until(t, "the listener", func() bool {
		_, err := w.browser(true).Get(tunnelOrigin)
		return err == nil
	})
	return w, keys
}

// dialTunnel opens a tunnel with the ticket of an exchange.
func (w *world) dialTunnel(t *testing.T, x carrier.Exchange, ticket [exchange.TicketSize]byte) (*tunnel.Conn, error) {
	t.Helper()
	m, err := carrier.NewTicket(x, ticket)
	if err != nil {
		t.Fatal(err)
	}
	ws, _, err := websocket.Dial(t.Context(), tunnelOrigin+string(m.AppendPath(nil, 0, m.Numbers())), &websocket.DialOptions{HTTPClient: w.browser(false)})
	if err != nil {
		return nil, err
	}
	c := tunnel.New(ws, nil, nil)
	t.Cleanup(c.Abort)
	c.SetReadDeadline(netns.Deadline(t))
	return c, nil
}

// getBy asks for a page of the service through a tunnel.
func getBy(c *tunnel.Conn) (status int, err error) {
	r, err := http.NewRequest(http.MethodGet, "http://service/test1.html", nil)
	if err != nil {
		return 0, err
	}
	if err := r.Write(c); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return answer.StatusCode, nil
}

// TestTunnel: after an exchange for a connection, the listener carries one connection to
// the service, whose own port stays closed. The ticket is of use once, and a client that
// is removed loses the connection.
func TestTunnel(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w, keys := newTunnelWorld(t, carriedOperation(carriedID, "")+carriedOperation("close-com1", "action = \"close\""))
	d := newDialogue(t, carriedID, netip.Addr{}, carrier.ServerOf(carrier.HTTP, siteName))
	a := d.byHTTP(w.browser(true), tunnelOrigin, true)
	wrong := a.Ticket
	wrong[15] ^= 1
	if _, err := w.dialTunnel(t, d.x, wrong); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a wrong ticket: %v", err)
	}
	c, err := w.dialTunnel(t, d.x, a.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := getBy(c); status != http.StatusOK || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	if w.reached() {
		t.Error("the service's own port is open")
	}
	if _, err := w.dialTunnel(t, d.x, a.Ticket); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a used ticket: %v", err)
	}
	closing := newDialogue(t, "close-com1", netip.Addr{}, carrier.ServerOf(carrier.HTTP, siteName))
	if _, err := w.dialTunnel(t, closing.x, closing.byHTTP(w.browser(true), tunnelOrigin, true).Ticket); err == nil {
		t.Error("an operation that closes opens a tunnel")
	}
	counts := w.server.Counters()
	if counts["http_tunnels"] != 1 || counts["http_tunnels_rejected"] != 3 {
		t.Errorf("counters: %v", counts)
	}
	w.list = slices.DeleteFunc(w.list, func(c clients.Client) bool { return c.Identifier.String() == "com1" })
	w.apply(t, keys)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the client was removed: %v", err)
	}
}

// TestStrangersEndNoTunnel: tunnels do not take all connections of a listener, so that those
// of strangers do not displace them.
func TestStrangersEndNoTunnel(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w, _ := newTunnelWorldOf(t, carriedOperation(carriedID, ""), 2)
	var first *tunnel.Conn
	for i := range 2 {
		d := newDialogue(t, carriedID, netip.Addr{}, carrier.ServerOf(carrier.HTTP, siteName))
		c, err := w.dialTunnel(t, d.x, d.byHTTP(w.browser(true), tunnelOrigin, true).Ticket)
		if err != nil {
			t.Fatal(err)
		}
		if status, err := getBy(c); (err == nil) != (i == 0) {
			t.Errorf("tunnel %d: status %d, %v", i, status, err)
		}
		if i == 0 {
			first = c
		}
	}
	for range 3 {
		if r, err := w.browser(true).Get(tunnelOrigin); err != nil {
			t.Fatal(err)
		} else {
			r.Body.Close()
		}
	}
	if status, err := getBy(first); status != http.StatusOK || err != nil {
		t.Errorf("after the connections of strangers: status %d, %v", status, err)
	}
}

// TestTunnelsAndReload: a reload keeps the ticket of an operation that it does not change,
// and ends that of another at once. A tunnel stays when its operation changes, and ends when
// the operation goes by which alone it has a right to the service.
func TestTunnelsAndReload(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const shared = "web-for-all"
	forAll := func(more string) string {
		return strings.Replace(carriedOperation(shared, more), "client = \"com1\"\n", "", 1)
	}
	w, keys := newTunnelWorld(t, carriedOperation(carriedID, "")+forAll(""))
	server := carrier.ServerOf(carrier.HTTP, siteName)
	exchanged := func(id string) (carrier.Exchange, [exchange.TicketSize]byte) {
		d := newDialogue(t, id, netip.Addr{}, server)
		return d.x, d.byHTTP(w.browser(true), tunnelOrigin, true).Ticket
	}
	x, ticket := exchanged(carriedID)
	open := map[string]*tunnel.Conn{}
	for _, id := range []string{carriedID, shared} {
		x, ticket := exchanged(id)
		var err error
		if open[id], err = w.dialTunnel(t, x, ticket); err != nil {
			t.Fatal(err)
		}
	}
	changed, gone := exchanged(shared)
	carries := func(id string, want bool) {
		t.Helper()
		if status, err := getBy(open[id]); (err == nil && status == http.StatusOK) != want {
			t.Errorf("the tunnel of %s: status %d, %v", id, status, err)
		}
	}
	without := strings.Replace(keys, forAll(""), "", 1)
	w.apply(t, without)
	if _, err := w.dialTunnel(t, changed, gone); err == nil {
		t.Error("a ticket of an operation that is gone")
	}
	carries(shared, false)
	c, err := w.dialTunnel(t, x, ticket)
	if err != nil {
		t.Fatalf("a ticket of an operation that stays: %v", err)
	}
	if status, err := getBy(c); err != nil || status != http.StatusOK {
		t.Errorf("status %d, %v", status, err)
	}
	x, ticket = exchanged(carriedID)
	w.apply(t, strings.Replace(without, carriedOperation(carriedID, ""), carriedOperation(carriedID, "open_for = \"7s\""), 1))
	if _, err := w.dialTunnel(t, x, ticket); err == nil {
		t.Error("a ticket of an operation that has changed")
	}
	carries(carriedID, true)
}

// TestTunnelCountsUses: each tunnel is one use of an operation with a limit, and the log
// names the operation.
func TestTunnelCountsUses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	log := new(logLines)
	w, _ := newTunnelWorld(t, carriedOperation(carriedID, "uses = 1"), func(s *setup) { s.log = slog.New(slog.NewTextHandler(log, nil)) })
	server := carrier.ServerOf(carrier.HTTP, siteName)
	first, second := newDialogue(t, carriedID, netip.Addr{}, server), newDialogue(t, carriedID, netip.Addr{}, server)
	one, two := first.byHTTP(w.browser(true), tunnelOrigin, true), second.byHTTP(w.browser(true), tunnelOrigin, true)
	c, err := w.dialTunnel(t, first.x, one.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := getBy(c); status != http.StatusOK || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	if c, err := w.dialTunnel(t, second.x, two.Ticket); err == nil {
		if status, err := getBy(c); err == nil {
			t.Errorf("a second use: status %d", status)
		}
	}
	text := log.String()
	n := strings.Count(text, `msg="operation executed" operation=`+carriedID)
	if n != 1 || !strings.Contains(text, " uses_left=0\n") {
		t.Errorf("%d lines of an executed operation, want one:\n%s", n, text)
	}
}

// TestTunnelAndRestart: with the server its tunnels end, also those in the middle of an
// answer, and so do exchanges and tickets: the next server gives nothing for them, and has
// counted each use once.
func TestTunnelAndRestart(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	cert, key := certificateFiles(t, t.TempDir())
	keys := strings.Replace(carrierKeys(cert, key, carriedOperation(carriedID, "uses = 3")), "tls_cert", "tunnel = true\ntls_cert", 1)
	start := func(t *testing.T) *world {
		w := newWorld(t, func(s *setup) { s.web, s.stateDir = keys, dir })
		w.until(t, "the listener", func() bool {
			_, err := w.browser(true).Get(tunnelOrigin)
			return err == nil
		})
		return w
	}
	server := carrier.ServerOf(carrier.HTTP, siteName)
	var open *tunnel.Conn
	var unused, pending *dialogue
	var ticket [exchange.TicketSize]byte
	var challenge []byte
	t.Run("before", func(st *testing.T) {
		w := start(st)
		used := newDialogue(st, carriedID, netip.Addr{}, server)
		var err error
		// It outlasts this part of the test, so its end is not that of the client.
		if open, err = w.dialTunnel(t, used.x, used.byHTTP(w.browser(true), tunnelOrigin, true).Ticket); err != nil {
			st.Fatal(err)
		}
		if status, err := getBy(open); status != http.StatusOK || err != nil {
			st.Errorf("status %d, %v", status, err)
		}
		unused, pending = newDialogue(st, carriedID, netip.Addr{}, server), newDialogue(st, carriedID, self4, to4)
		ticket = unused.byHTTP(w.browser(true), tunnelOrigin, true).Ticket
		challenge = pending.send(w.browser(true), tunnelOrigin, pending.message(pending.kind, pending.initiator.Request()), true)
		io.WriteString(open, "GET /test1.html HTTP/1.1\r\n") // and no end
		if left := w.server.usesLeft()[0].Left; left != 2 {
			st.Errorf("%d uses left, want 2", left)
		}
	})
	if _, err := open.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the end of the server: %v", err)
	}
	t.Run("after", func(t *testing.T) {
		w := start(t)
		if _, err := w.dialTunnel(t, unused.x, ticket); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("a ticket of the server before: %v", err)
		}
		pending.t = t
		m, _ := pending.respond(challenge)
		pending.send(w.browser(true), tunnelOrigin, m, true)
		if left := w.server.usesLeft()[0].Left; left != 2 || w.reached() {
			t.Errorf("%d uses left, want 2", left)
		}
	})
}

// TestTunnelAfterTheEnd: a request that outlasts the server opens nothing, and counts no use
// in the state directory.
func TestTunnelAfterTheEnd(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var w *world
	var proof carriedtable.Proof
	t.Run("server", func(t *testing.T) {
		w, _ = newTunnelWorld(t, carriedOperation(carriedID, "uses = 1"))
		d := newDialogue(t, carriedID, netip.Addr{}, carrier.ServerOf(carrier.HTTP, siteName))
		a := d.byHTTP(w.browser(true), tunnelOrigin, true)
		var ok bool
		if proof, ok = w.server.challenge.carriers.table.Take(d.x, a.Ticket, w.server.challenge.now()); !ok {
			t.Fatal("the ticket is not accepted")
		}
	})
	c := w.server.challenge
	c.tunnel = func(gate.Command, gate.Tunnel, *gate.Link) (func(), error) {
		t.Error("the gate gets a tunnel")
		return nil, nil
	}
	if _, err := c.letIn(proof, self4, nil); !errors.Is(err, errOperationGone) {
		t.Errorf("got %v", err)
	}
	if left := w.server.usesLeft()[0].Left; left != 1 {
		t.Errorf("%d uses left", left)
	}
}
