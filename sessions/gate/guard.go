package gate

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
)

// maxConnections is how many connections are served at a time.
const maxConnections = 1024

// guard is a listener that hands on only connections of allowed addresses.
// Others are reset without a byte of payload. It knows the connections that
// it handed on, to cut them when their lease is over.
type guard struct {
	net.Listener
	allows func(netip.Addr) bool

	mu     sync.Mutex
	conns  map[*guarded]netip.Addr
	closed bool
}

// guarded is a connection that its guard forgets when it is closed.
type guarded struct {
	net.Conn
	guard *guard
}

func newGuard(l net.Listener, allows func(netip.Addr) bool) *guard {
	return &guard{Listener: l, allows: allows, conns: map[*guarded]netip.Addr{}}
}

// Accept waits for a connection that may come in.
func (g *guard) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		// First known, then asked: a lease that ends in between cuts it.
		a := remote(c.RemoteAddr())
		gc, ok := g.admit(c, a)
		if ok && g.allows(a) {
			return gc, nil
		}
		if ok {
			g.forget(gc)
		}
		reset(c)
	}
}

// Close stops listening, once. Connections live on until they are cut.
func (g *guard) Close() error {
	g.mu.Lock()
	again := g.closed
	g.closed = true
	g.mu.Unlock()
	if again {
		return nil
	}
	return g.Listener.Close()
}

func (g *guard) admit(c net.Conn, a netip.Addr) (*guarded, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || len(g.conns) == maxConnections {
		return nil, false
	}
	gc := &guarded{c, g}
	g.conns[gc] = a
	return gc, true
}

// cut resets the connections of the addresses that are to go: closed in an
// orderly way, they would still deliver what waits in their send buffers.
func (g *guard) cut(goes func(netip.Addr) bool) {
	g.mu.Lock()
	var over []*guarded
	for c, a := range g.conns {
		if goes(a) {
			over = append(over, c)
		}
	}
	g.mu.Unlock()
	for _, c := range over {
		g.forget(c)
		reset(c.Conn)
	}
}

func (g *guard) forget(c *guarded) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

func (c *guarded) Close() error {
	c.guard.forget(c)
	return c.Conn.Close()
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// remote returns a peer's address as a Grant names it: an IPv4-mapped one as
// IPv4, the zone of a link-local one as the number of the interface.
func remote(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	a := tcp.AddrPort().Addr().Unmap()
	if a.Zone() == "" {
		return a
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return a // the interface has no name: its number already
	}
	return a.WithZone(strconv.Itoa(i.Index))
}
