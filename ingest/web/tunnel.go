package web

import (
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/tunnel"
)

const (
	// DefaultTunnels is how many tunnels of a listener there are at a time.
	DefaultTunnels = 256
	// tunnelShare is by what the bound is divided for those of one address.
	tunnelShare = 4
)

// Tunnels takes the way in: connections that prove, by the ticket of an exchange, that
// they are of the client that has made it. Several goroutines call it concurrently.
type Tunnels interface {
	// Open takes a ticket, and reports whether it is that of the exchange, in time and
	// for the first time. It compares in constant time. The client is the address that
	// the tunnel comes from. Accept serves the connection, a *tunnel.Conn, and returns
	// when it has ended; or at once, with the reason for which the tunnel is refused. It is
	// called at most once; the ticket is used up in any case.
	Open(x carrier.Exchange, ticket [carrier.TicketSize]byte, client netip.Addr, now time.Time) (accept func(net.Conn) (refused string), ok bool)
}

// upgrades reports whether a request is one for a WebSocket that every server of
// WebSockets would accept.
func upgrades(r *http.Request) bool {
	key := r.Header.Values("Sec-WebSocket-Key")
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || len(key) != 1 || r.Header.Get("Sec-WebSocket-Version") != "13" {
		return false
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key[0]))
	return err == nil && len(b) == 16 && hasToken(r.Header.Values("Connection"), "upgrade") && hasToken(r.Header.Values("Upgrade"), "websocket")
}

func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(element, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// openTunnel serves a tunnel until it ends. It returns false, without an answer, if the
// ticket is wrong.
func (h *HTTP) openTunnel(w http.ResponseWriter, r *http.Request, x carrier.Exchange, ticket [carrier.TicketSize]byte) bool {
	client := h.config.Proxies.client(r)
	if h.config.Tunnels == nil || !client.IsValid() {
		h.tunnels.refused()
		return false
	}
	accept, ok := h.config.Tunnels.Open(x, ticket, client, h.config.Now())
	if !ok {
		h.tunnels.refused()
		return false
	}
	// The ticket is the proof, so the origin does not matter.
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return true // the connection is gone
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	c := tunnel.New(ws, local, remoteOf(r, client))
	defer c.Abort()
	if refused := h.serveTunnel(r, c, client, accept); refused != "" {
		// This waits for the client. It has no place by now: otherwise a client beyond its
		// bounds would take those of others.
		c.Refuse(refused)
	}
	return true
}

// TooManyTunnels is the reason for which a tunnel beyond a bound is refused.
const TooManyTunnels = "too many tunnels"

// serveTunnel serves a tunnel within the bounds until it ends, or returns the reason for
// which it is refused.
func (h *HTTP) serveTunnel(r *http.Request, c *tunnel.Conn, client netip.Addr, accept func(net.Conn) string) (refused string) {
	if !h.tunnels.begin(client, h.config.MaxTunnels) {
		return TooManyTunnels
	}
	defer h.tunnels.end(client)
	keep(r, true)
	if refused = accept(c); refused != "" {
		keep(r, false)
	}
	return refused
}

// remoteOf returns the address of a client with its port; 0, if a proxy is before it.
func remoteOf(r *http.Request, client netip.Addr) net.Addr {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && peer.Addr().Unmap().WithZone("") == client {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, peer.Port()))
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0))
}

// tunnels counts the tunnels of a handler. The zero value is ready.
type tunnels struct {
	mu     sync.Mutex
	of     map[netip.Prefix]int // only clients that have had a ticket are here
	counts TunnelStats
}

// TunnelStats are the tunnels at the moment, and totals since the start.
type TunnelStats struct {
	Open                     int
	Accepted, Full, Rejected uint64 // tickets that were right, beyond the bound, or wrong
}

func (t *tunnels) begin(client netip.Addr, most int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := addressOf(client)
	if t.counts.Open >= most || t.of[from] >= max(1, most/tunnelShare) {
		t.counts.Full++
		return false
	}
	if t.of == nil {
		t.of = make(map[netip.Prefix]int)
	}
	t.of[from]++
	t.counts.Open++
	t.counts.Accepted++
	return true
}

func (t *tunnels) end(client netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Open--
	from := addressOf(client)
	if t.of[from]--; t.of[from] == 0 {
		delete(t.of, from)
	}
}

// addressOf returns an IPv4 address, or a network of IPv6, which counts as one address.
func addressOf(client netip.Addr) netip.Prefix {
	bits := 32
	if client.Is6() {
		bits = 64
	}
	p, _ := client.Prefix(bits) // the zero Prefix of a zero Addr
	return p
}

func (t *tunnels) refused() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Rejected++
}

func (t *tunnels) stats() TunnelStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}
