package gate

import (
	"errors"
	"net"
	"sync"
	"time"

	"sallyport/sessions/gate/screen"
)

// listener hands on only connections of admitted addresses.
type listener struct {
	net.Listener
	door   *TCP
	closed sync.Once
}

// Close implements net.Listener; servers close what the door has closed.
func (l *listener) Close() (err error) {
	l.closed.Do(func() { err = l.Listener.Close() })
	return err
}

// conn is a connection that its door forgets when it is closed.
type conn struct {
	net.Conn
	door *TCP
	port *tcpPort // the random port by which it came; nil: the door's own
}

// Accept waits for a connection that may come in.
func (l *listener) Accept() (net.Conn, error) { return accept(l.Listener, l.door.take) }

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

// take makes a connection one of the door's, if it may come in.
func (t *TCP) take(c net.Conn) (*conn, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.enter(c, &t.admitted, nil)
}

// enter is take, for whom a port lets in. The caller holds the lock.
func (t *TCP) enter(c net.Conn, in *admitted, port *tcpPort) (*conn, bool) {
	peer := remote(c.RemoteAddr())
	of := in.grain.Of(peer)
	if t.shut || !in.allows(peer, time.Now()) || len(t.conns) >= maxConnections || t.of[of] >= t.cfg.PerAddress {
		return nil, false
	}
	// The kernel screens it as it did the listener when it came: it would go
	// silent, rather than live on or be reset, should it come to another one.
	if tcp, ok := c.(*net.TCPConn); ok && screen.Release(tcp) != nil {
		return nil, false
	}
	known := &conn{c, t, port}
	t.conns[known] = peer
	t.of[of]++
	return known, true
}

// forget is for connections of which the door need not know any more. The
// caller holds the lock.
func (t *TCP) forget(c *conn) {
	peer, ok := t.conns[c]
	if !ok {
		return
	}
	delete(t.conns, c)
	of := t.admitted.grain.Of(peer)
	if t.of[of]--; t.of[of] == 0 {
		delete(t.of, of)
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.door.mu.Lock()
	c.door.forget(c)
	c.door.mu.Unlock()
	return c.Conn.Close()
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
