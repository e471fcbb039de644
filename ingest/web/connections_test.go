package web

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
)

// aConn is a connection from an address.
type aConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *aConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.from), 1024))
}

func (c *aConn) Close() error {
	c.closed = true
	return nil
}

// TestFloodOfOneAddress: any number of connections from one address, or one /64, closes
// none of another address, also if that is silent; those of a trusted proxy are those of
// many clients.
func TestFloodOfOneAddress(t *testing.T) {
	const most = 64
	for name, from := range map[string]func(i int) string{
		"one address": func(int) string { return "192.0.2.1" },
		"mapped":      func(int) string { return "::ffff:192.0.2.1" },
		"a /64":       func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newConnections(most)
			var honest []*aConn
			for i := range most - most/sourceShare {
				c := &aConn{from: fmt.Sprintf("10.0.0.%d", i/2)}
				if i%3 == 0 {
					c.from = "127.0.0.1"
				}
				honest = append(honest, c)
				s.add(c, c.from == "127.0.0.1")
			}
			var last *aConn
			for i := range 1000 {
				last = &aConn{from: from(i)}
				s.add(last, false)
				s.touch(last, i%2)
			}
			for _, c := range honest {
				if c.closed {
					t.Errorf("the connection of %s is closed", c.from)
				}
			}
			fresh := &aConn{from: "203.0.113.1"}
			s.add(fresh, false)
			proxied := &aConn{from: "127.0.0.1"}
			s.add(proxied, true)
			open, replaced := s.counts()
			if open != most || replaced != 1000-most/sourceShare+2 {
				t.Errorf("%d are open, %d were replaced", open, replaced)
			}
			if fresh.closed || proxied.closed || last.closed {
				t.Error("a new connection is closed")
			}
			s.closeAll()
			if len(s.sources) != 0 || len(s.places) != 0 {
				t.Errorf("%d sources and %d connections are left", len(s.sources), len(s.places))
			}
		})
	}
}

// TestOwnTunnelStays: the connections of an address that has its share displace no tunnel
// of that address.
func TestOwnTunnelStays(t *testing.T) {
	s := newConnections(8)
	tunnel, other := &aConn{from: "192.0.2.1"}, &aConn{from: "192.0.2.2"}
	s.add(tunnel, false)
	s.keep(tunnel, true)
	for range 7 {
		s.add(&aConn{from: "192.0.2.2"}, false)
	}
	s.add(&aConn{from: "192.0.2.1"}, false)
	s.add(&aConn{from: "192.0.2.1"}, false)
	s.add(other, false)
	if tunnel.closed || other.closed {
		t.Errorf("the tunnel is closed: %t, the last: %t", tunnel.closed, other.closed)
	}
}
