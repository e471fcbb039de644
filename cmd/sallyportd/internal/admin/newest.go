package admin

import (
	"net"
	"slices"
	"sync"
)

// newest is a listener that closes the oldest connection if there are too many. So other
// users of the host keep no reader away by holding connections.
type newest struct {
	net.Listener
	most int

	mu    sync.Mutex
	conns []*newestConn // the oldest first
}

type newestConn struct {
	net.Conn
	of *newest
}

// Accept implements net.Listener.
func (l *newest) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &newestConn{accepted, l}
	l.mu.Lock()
	l.conns = append(l.conns, c)
	var oldest *newestConn
	if len(l.conns) > l.most {
		oldest = l.conns[0]
	}
	l.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	return c, nil
}

// Close implements net.Conn.
func (c *newestConn) Close() error {
	c.of.mu.Lock()
	c.of.conns = slices.DeleteFunc(c.of.conns, func(other *newestConn) bool { return other == c })
	c.of.mu.Unlock()
	return c.Conn.Close()
}
