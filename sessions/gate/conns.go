package gate

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/heldport"
	"sallyport/sessions/gate/sockfilter"
)

// ConnLimits counts the connections of one TCP enforcer, or of several: see
// TCPConfig.Limits. The zero value is ready.
type ConnLimits struct {
	mu      sync.Mutex   // locked last
	all     atomic.Int64 // also read without the lock
	perPeer map[access.Peer]int
}

// take counts a connection of a peer, if there are fewer than maxConnections, and
// fewer than perAddress of the peer.
func (l *ConnLimits) take(p access.Peer, perAddress int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all.Load() >= maxConnections || l.perPeer[p] >= perAddress {
		return false
	}
	if l.perPeer == nil {
		l.perPeer = map[access.Peer]int{}
	}
	l.all.Add(1)
	l.perPeer[p]++
	return true
}

func (l *ConnLimits) release(p access.Peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Add(-1)
	if l.perPeer[p]--; l.perPeer[p] == 0 {
		delete(l.perPeer, p)
	}
}

// Count returns how many connections there are. It takes no lock.
func (l *ConnLimits) Count() int { return int(l.all.Load()) }

// listener returns only connections of admitted peers.
type listener struct {
	net.Listener
	tcp    *TCP
	closed sync.Once
	proved *proved // nil: no connection must prove itself
}

// Close implements net.Listener. Both the enforcer and the server may call it.
func (l *listener) Close() (err error) {
	l.closed.Do(func() {
		err = l.Listener.Close()
		l.proved.end()
	})
	return err
}

// conn is a connection that its enforcer no longer tracks after Close.
type conn struct {
	net.Conn
	tcp    *TCP
	port   *tcpPort  // the random port that accepted it; nil: the service's own
	began  time.Time // by clock.Boot
	owners access.Owners
	proved bool // it belongs to the one client that has proved itself
	// The addresses of a tunnel, of which Conn is one end on this host; nil: of Conn.
	remote, local net.Addr
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return cmp.Or(c.remote, c.Conn.RemoteAddr()) }

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return cmp.Or(c.local, c.Conn.LocalAddr()) }

// Accept waits for a connection of an admitted peer, or one that has proved itself.
func (l *listener) Accept() (net.Conn, error) {
	if l.proved != nil {
		return l.proved.accept()
	}
	return accept(l.Listener, l.tcp.admit)
}

func accept(l net.Listener, admit func(net.Conn) (*conn, bool)) (net.Conn, error) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		if tracked, ok := admit(c); ok {
			return tracked, nil
		}
		reset(c)
	}
}

// admit registers a connection if its peer is admitted.
func (t *TCP) admit(c net.Conn) (*conn, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.admitFrom(c, &t.admitted, nil)
}

// admitFrom is admit for the peers of a set. The caller holds the lock.
func (t *TCP) admitFrom(c net.Conn, in *access.Set, port *tcpPort) (*conn, bool) {
	from := remote(c.RemoteAddr())
	peer := access.PeerIn(from, t.cfg.PrefixLen4, t.cfg.PrefixLen6)
	now := t.cfg.Clock.Boot()
	if t.closed || !t.limits.take(peer, t.cfg.PerAddress) {
		return nil, false
	}
	owners, ok := in.Enter(from, now)
	if !ok {
		t.limits.release(peer)
		return nil, false
	}
	tracked := &conn{Conn: c, tcp: t, port: port, began: now, owners: owners}
	if !t.track(tracked, from) {
		t.limits.release(peer)
		return nil, false
	}
	return tracked, true
}

// track registers a connection that the limits have counted. The caller holds the lock.
func (t *TCP) track(c *conn, from netip.Addr) bool {
	// The kernel still filters the connection with the listener's filter of
	// that moment. If that filter blocked its peer later, the connection would
	// hang instead of being kept or reset.
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		if sockfilter.Detach(tcp) != nil || heldport.Accepted(tcp) != nil {
			return false
		}
	}
	t.conns[c] = from
	return true
}

// untrack removes a connection from the enforcer's records. The caller holds
// the lock.
func (t *TCP) untrack(c *conn) {
	from, ok := t.conns[c]
	if !ok {
		return
	}
	delete(t.conns, c)
	t.limits.release(access.PeerIn(from, t.cfg.PrefixLen4, t.cfg.PrefixLen6))
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.tcp.mu.Lock()
	c.tcp.untrack(c)
	c.tcp.mu.Unlock()
	return c.Conn.Close()
}

// remote returns a peer's address in the form that grants have.
func remote(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return access.Numbered(tcp.AddrPort().Addr())
}

// reset ends a connection immediately: an orderly close would still deliver the
// bytes in its send buffer.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

func resetAll(conns []*conn) {
	for _, c := range conns {
		reset(c.Conn)
	}
}
