package gate

import (
	"net"
	"syscall"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/sockfilter"
)

// tcpPort is a random port of a TCP enforcer. Its Handler gets it as a listener
// with one connection. The enforcer's lock guards it.
type tcpPort struct {
	net.Listener
	tcp      *TCP
	admitted access.Set // the one peer, or any
	conn     *conn      // nil: no connection has come
}

// OpenPort implements PortOpener.
func (t *TCP) OpenPort(port uint16, peer access.Peer, until time.Time) (RandomPort, error) {
	address, err := withPort(t.cfg.Listen, port)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	l, err := t.listenAt(address)
	if err != nil {
		return nil, wrapBindError(err)
	}
	p := &tcpPort{Listener: l, tcp: t}
	if err := p.put(peer, until); err != nil {
		l.Close()
		return nil, err
	}
	t.ports[p] = true
	go t.cfg.Handler.Serve(p) // ends with the listener
	return p, nil
}

// Accept implements net.Listener. It closes the port before it returns the
// connection.
func (p *tcpPort) Accept() (net.Conn, error) { return accept(p.Listener, p.admit) }

func (p *tcpPort) admit(c net.Conn) (*conn, bool) {
	p.tcp.mu.Lock()
	defer p.tcp.mu.Unlock()
	if !p.tcp.ports[p] {
		return nil, false
	}
	tracked, ok := p.tcp.admitFrom(c, &p.admitted, p)
	if ok {
		p.conn = tracked
		p.stop()
	}
	return tracked, ok
}

// Admit implements Admitter.
func (p *tcpPort) Admit(peer access.Peer, until time.Time) error {
	p.tcp.mu.Lock()
	defer p.tcp.mu.Unlock()
	if !p.tcp.ports[p] {
		return nil
	}
	return p.put(peer, until)
}

// put admits a peer, and no other.
func (p *tcpPort) put(peer access.Peer, until time.Time) error {
	p.admitted.Clear()
	for _, admitted := range peer.Admitted() {
		p.admitted.Put(admitted, until)
	}
	socket, ok := p.Listener.(syscall.Conn)
	if !ok {
		return nil
	}
	return new(filterState).apply(socket, 1, func() sockfilter.Set { return filterSet(&p.admitted) })
}

// stop closes the port, once. The caller holds the lock.
func (p *tcpPort) stop() {
	if p.tcp.ports[p] {
		delete(p.tcp.ports, p)
		p.Listener.Close()
	}
}

// Close implements net.Listener.
func (p *tcpPort) Close() error {
	p.tcp.mu.Lock()
	defer p.tcp.mu.Unlock()
	p.stop()
	return nil
}

// State implements RandomPort.
func (p *tcpPort) State() PortState {
	p.tcp.mu.Lock()
	defer p.tcp.mu.Unlock()
	if p.tcp.ports[p] {
		if connectionsWait(p.Listener) {
			return PortUsed
		}
		return PortWaiting
	}
	if _, lives := p.tcp.conns[p.conn]; lives {
		return PortUsed
	}
	return PortOver
}

// End implements RandomPort.
func (p *tcpPort) End(cut bool) {
	p.tcp.mu.Lock()
	p.stop()
	_, lives := p.tcp.conns[p.conn]
	if cut = cut && lives; cut {
		p.tcp.untrack(p.conn)
	}
	p.tcp.mu.Unlock()
	if cut {
		reset(p.conn.Conn)
	}
}
