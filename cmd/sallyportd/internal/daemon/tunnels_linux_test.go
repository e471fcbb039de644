package daemon

import (
	"bufio"
	"errors"
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
func newTunnelWorld(t *testing.T, operations string) (w *world, keys string) {
	t.Helper()
	cert, key := certificateFiles(t, t.TempDir())
	keys = strings.Replace(carrierKeys(cert, key, operations), "tls_cert", "tunnel = true\ntls_cert", 1)
	w = newWorld(t, func(s *setup) { s.web = keys })
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

// TestTunnelCountsUses: each tunnel is one use of an operation with a limit.
func TestTunnelCountsUses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w, _ := newTunnelWorld(t, carriedOperation(carriedID, "uses = 1"))
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
	c.tunnel = func(gate.Command, gate.Tunnel) (func(), error) {
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
