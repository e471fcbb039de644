package gate

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/prove"
	"sallyport/verify/wire"
)

// tunnelPort is a tunnel on its way to the Handler, as a random port whose connection has
// come already. Until Admit, the Handler gets nothing.
type tunnelPort struct {
	inlet         *Inlet
	conn          *net.TCPConn // the end for the Handler
	client        wire.Identifier
	from          netip.Addr
	remote, local net.Addr

	tracked *conn // nil: it waits; guarded by the lock of inlet.tcp
	ended   bool  // guarded by the same
}

// track counts the connection. The caller holds the lock.
func (p *tunnelPort) track(c *net.TCPConn, of wire.Identifier, proved bool) (*conn, bool) {
	t := p.inlet.tcp
	if !t.limits.take(access.PeerIn(p.from, t.cfg.PrefixLen4, t.cfg.PrefixLen6), t.cfg.PerAddress) {
		return nil, false
	}
	tracked := &conn{
		Conn: c, tcp: t, began: t.cfg.Clock.Boot(), owners: access.OwnedBy(of), proved: proved, remote: p.remote, local: p.local,
	}
	t.conns[tracked] = p.from
	return tracked, true
}

// Admit implements Admitter: it passes the connection to the Handler.
func (p *tunnelPort) Admit(peer access.Peer, _ time.Time) error {
	t := p.inlet.tcp
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return ErrClosed
	case p.tracked != nil || p.ended || !peer.IsValid():
		return nil
	}
	tracked, ok := p.track(p.conn, p.client, false)
	if !ok {
		return errFull
	}
	p.tracked = tracked
	t.serve(tracked)
	return nil
}

// State implements RandomPort.
func (p *tunnelPort) State() PortState {
	t := p.inlet.tcp
	t.mu.Lock()
	defer t.mu.Unlock()
	switch _, lives := t.conns[p.tracked]; {
	case p.ended && p.tracked == nil:
		return PortOver
	case p.tracked == nil:
		return PortWaiting
	case lives:
		return PortUsed
	}
	return PortOver
}

// End implements RandomPort.
func (p *tunnelPort) End(cut bool) {
	t := p.inlet.tcp
	t.mu.Lock()
	_, lives := t.conns[p.tracked]
	ends := p.tracked == nil && !p.ended || cut && lives
	if p.ended = true; cut && lives {
		t.untrack(p.tracked)
	}
	t.mu.Unlock()
	if ends {
		reset(p.conn)
	}
}

// prove lets the connection prove itself: see proved.go.
func (p *tunnelPort) prove() error {
	t := p.inlet.tcp
	return t.cfg.Prover.Add(p.conn, p.from, access.PeerIn(p.from, t.cfg.PrefixLen4, access.PrefixNetwork).Prefix, p)
}

// Try implements prove.Target. The ticket lets the connection try.
func (p *tunnelPort) Try(netip.Addr) (netip.Prefix, bool) { return netip.Prefix{}, true }

// Own implements prove.Target.
func (p *tunnelPort) Own(c *net.TCPConn, client wire.Identifier) (net.Conn, prove.Outcome) {
	t := p.inlet.tcp
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		reset(c)
		return nil, prove.Revoked
	}
	tracked, ok := p.track(c, client, true)
	if !ok {
		reset(c)
		return nil, prove.Full
	}
	return tracked, prove.Passed
}

// Refuse implements prove.Target.
func (p *tunnelPort) Refuse(c net.Conn) {
	p.inlet.tcp.mu.Lock()
	p.inlet.tcp.untrack(c.(*conn))
	p.inlet.tcp.mu.Unlock()
	reset(c.(*conn).Conn)
}

// Pass implements prove.Target.
func (p *tunnelPort) Pass(c net.Conn) bool {
	t, tracked := p.inlet.tcp, c.(*conn)
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, lives := t.conns[tracked]; !lives {
		return false // it was cut meanwhile
	}
	t.serve(tracked)
	return true
}

// serve passes one connection to the Handler.
func (t *TCP) serve(c *conn) { go t.cfg.Handler.Serve(&oneConn{conn: c}) }

// oneConn is a listener with one connection, which is there already.
type oneConn struct {
	conn *conn
	once sync.Once
}

// Accept implements net.Listener.
func (l *oneConn) Accept() (c net.Conn, err error) {
	err = net.ErrClosed
	l.once.Do(func() { c, err = l.conn, nil })
	return c, err
}

// Close implements net.Listener. The connection continues.
func (l *oneConn) Close() error { return nil }

// Addr implements net.Listener.
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }
