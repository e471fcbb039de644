package carriers

import (
	"context"
	"net"
	"sync"
)

// sockets are the connections that an HTTP has made. A transport of net/http closes only
// those that are idle, and with HTTP/2 a connection may be in use for a moment after its
// last answer, or as long as a server likes.
type sockets struct {
	mu     sync.Mutex
	open   map[*socket]bool
	closed bool
}

// socket is one of them.
type socket struct {
	net.Conn
	of *sockets
}

// dial dials by another function, and keeps the connection.
func (s *sockets) dial(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		own := &socket{c, s}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed {
			c.Close()
			return nil, net.ErrClosed
		}
		if s.open == nil {
			s.open = map[*socket]bool{}
		}
		s.open[own] = true
		return own, nil
	}
}

// close closes all connections, and those that are made later.
func (s *sockets) close() {
	s.mu.Lock()
	open := s.open
	s.open, s.closed = nil, true
	s.mu.Unlock()
	for c := range open {
		c.Conn.Close()
	}
}

// Close closes the connection.
func (c *socket) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
