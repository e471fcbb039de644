package gate

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// tcpPort is a random port of a TCP door: for its Server a listener with one
// connection. The door's lock guards it.
type tcpPort struct {
	net.Listener
	door     *TCP
	admitted admitted // the one address
	conn     *conn    // nil: none has come
}

// OpenPort implements PortOpener.
func (t *TCP) OpenPort(port uint16, a netip.Addr, until time.Time) (RandomPort, error) {
	address, err := beside(t.cfg.Listen, port)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shut {
		return nil, ErrClosed
	}
	l, err := t.listenAt(address)
	if err != nil {
		return nil, taken(err)
	}
	p := &tcpPort{Listener: l, door: t, admitted: only(t.cfg.Grain, a, until)}
	if socket, ok := l.(syscall.Conn); ok {
		if err := new(cover).draw(socket, 1, p.admitted.screened); err != nil {
			l.Close()
			return nil, err
		}
	}
	t.ports[p] = true
	go t.cfg.Server.Serve(p) // ends with the listener
	return p, nil
}

// Accept implements net.Listener: the port is closed before its connection is
// served.
func (p *tcpPort) Accept() (net.Conn, error) { return accept(p.Listener, p.take) }

func (p *tcpPort) take(c net.Conn) (*conn, bool) {
	p.door.mu.Lock()
	defer p.door.mu.Unlock()
	if !p.door.ports[p] {
		return nil, false
	}
	known, ok := p.door.enter(c, &p.admitted, p)
	if ok {
		p.conn = known
		p.stop()
	}
	return known, ok
}

// stop closes the port, once. The caller holds the lock.
func (p *tcpPort) stop() {
	if p.door.ports[p] {
		delete(p.door.ports, p)
		p.Listener.Close()
	}
}

// Close implements net.Listener.
func (p *tcpPort) Close() error {
	p.door.mu.Lock()
	defer p.door.mu.Unlock()
	p.stop()
	return nil
}

// State implements RandomPort.
func (p *tcpPort) State() PortState {
	p.door.mu.Lock()
	defer p.door.mu.Unlock()
	if p.door.ports[p] {
		return PortWaiting
	}
	if _, lives := p.door.conns[p.conn]; lives {
		return PortUsed
	}
	return PortOver
}

// End implements RandomPort.
func (p *tcpPort) End(cut bool) {
	p.door.mu.Lock()
	p.stop()
	_, lives := p.door.conns[p.conn]
	if cut = cut && lives; cut {
		p.door.forget(p.conn)
	}
	p.door.mu.Unlock()
	if cut {
		reset(p.conn.Conn)
	}
}
