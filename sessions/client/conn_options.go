package client

import (
	"net"
	"time"
)

// set sets an option of the TCP connection, and of one that takes its place.
func (c *Conn) set(name string, to func(*net.TCPConn) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.options == nil {
		c.options = map[string]func(*net.TCPConn) error{}
	}
	c.options[name] = to
	return to(c.tcp)
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr {
	tcp, _ := c.current()
	return tcp.LocalAddr()
}

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr {
	tcp, _ := c.current()
	return tcp.RemoteAddr()
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.set("read", func(tcp *net.TCPConn) error { return tcp.SetReadDeadline(t) })
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.set("write", func(tcp *net.TCPConn) error { return tcp.SetWriteDeadline(t) })
}

// SetLinger is as for a net.TCPConn.
func (c *Conn) SetLinger(seconds int) error {
	return c.set("linger", func(tcp *net.TCPConn) error { return tcp.SetLinger(seconds) })
}

// SetNoDelay is as for a net.TCPConn.
func (c *Conn) SetNoDelay(noDelay bool) error {
	return c.set("delay", func(tcp *net.TCPConn) error { return tcp.SetNoDelay(noDelay) })
}

// SetKeepAliveConfig is as for a net.TCPConn.
func (c *Conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return c.set("keepalive", func(tcp *net.TCPConn) error { return tcp.SetKeepAliveConfig(config) })
}
