package gate

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/heldport"
	"sallyport/sessions/gate/sockfilter"
)

// listener hands on only connections of peers that are let in.
type listener struct {
	net.Listener
	tcp    *TCP
	closed sync.Once
}

// Close implements net.Listener; servers close what the enforcer has closed.
func (l *listener) Close() (err error) {
	l.closed.Do(func() { err = l.Listener.Close() })
	return err
}

// conn is a connection that its enforcer forgets when it is closed.
type conn struct {
	net.Conn
	tcp   *TCP
	port  *tcpPort  // the random port by which it came; nil: the service's own
	began time.Time // as clock.Boot has it
	owned access.Owners
}

// Accept waits for a connection that may come in.
func (l *listener) Accept() (net.Conn, error) { return accept(l.Listener, l.tcp.take) }

func accept(l net.Listener, take func(net.Conn) (*conn, bool)) (net.Conn, error) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		if known, ok := take(c); ok {
			return known, nil
		}
		reset(c)
	}
}

// take makes a connection one of the enforcer's, if it may come in.
func (t *TCP) take(c net.Conn) (*conn, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.enter(c, &t.in, nil)
}

// enter is take, for those whom a port lets in. The caller holds the lock.
func (t *TCP) enter(c net.Conn, in *access.Set, port *tcpPort) (*conn, bool) {
	from := remote(c.RemoteAddr())
	of := access.PeerOf(from, t.cfg.PrefixLen6)
	now := t.cfg.Clock.Boot()
	if t.shut || len(t.conns) >= maxConnections || t.of[of] >= t.cfg.PerAddress {
		return nil, false
	}
	owned, ok := in.Enter(from, now)
	if !ok {
		return nil, false
	}
	// The kernel screens it as it did the listener when it came: it would go
	// silent, rather than live on or be reset, should it come to another one.
	if tcp, ok := c.(*net.TCPConn); ok && (sockfilter.Detach(tcp) != nil || heldport.Accepted(tcp) != nil) {
		return nil, false
	}
	known := &conn{c, t, port, now, owned}
	t.conns[known] = from
	t.of[of]++
	return known, true
}

// forget is for connections that the enforcer need not know any more. The
// caller holds the lock.
func (t *TCP) forget(c *conn) {
	from, ok := t.conns[c]
	if !ok {
		return
	}
	delete(t.conns, c)
	of := access.PeerOf(from, t.cfg.PrefixLen6)
	if t.of[of]--; t.of[of] == 0 {
		delete(t.of, of)
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.tcp.mu.Lock()
	c.tcp.forget(c)
	c.tcp.mu.Unlock()
	return c.Conn.Close()
}

// remote returns a peer's address as grants have it.
func remote(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return access.Numbered(tcp.AddrPort().Addr())
}

// reset ends a connection at once: closed in an orderly way, it would still
// deliver what waits in its send buffer.
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
