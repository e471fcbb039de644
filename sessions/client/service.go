package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

const (
	firstPause     = 10 * time.Millisecond // between two attempts to connect; doubles
	lastPause      = 250 * time.Millisecond
	maxDialTime    = time.Second            // the kernel sends a lost SYN again after a second
	firstDialTimer = 120 * time.Millisecond // for the first SYN; triples

	// minLifetime is how long a connection must last: a server that is open for
	// another address accepts the connection and resets it.
	minLifetime = 100 * time.Millisecond
)

// Conn is a connection to the service. The client may already have read the first
// byte of its data.
type Conn struct {
	*net.TCPConn
	first []byte // read before, and not yet returned by Read
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.TCPConn.Read(b)
}

// WriteTo makes io.Copy use Read, and not TCPConn.WriteTo.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

// waitForService returns a connection as soon as the service answers, or else the
// last error.
func waitForService(ctx context.Context, service netip.AddrPort, timeout time.Duration) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last error
	// The pause is first: the server also needs time to open.
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		select {
		case <-ctx.Done():
			if last == nil {
				last = ctx.Err()
			}
			return nil, last
		case <-time.After(pause):
		}
		conn, err := probe(ctx, service)
		if err == nil {
			return conn, nil
		}
		// A timeout reveals less than an earlier error.
		if last == nil || !timedOut(err) {
			last = err
		}
	}
}

// probe connects, and returns the connection if it lasts for minLifetime or the
// service sends data.
func probe(ctx context.Context, service netip.AddrPort) (*Conn, error) {
	c, err := connect(ctx, service)
	if err != nil {
		return nil, err
	}
	conn := &Conn{TCPConn: c}
	b := make([]byte, 1)
	if err = conn.SetReadDeadline(time.Now().Add(minLifetime)); err == nil {
		var n int
		n, err = conn.TCPConn.Read(b)
		conn.first = b[:n]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		} else if err != nil {
			err = fmt.Errorf("%w: %w", errClosedAtOnce, err)
		}
	}
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// connect connects to the service. A service that drops the packets of strangers
// drops a SYN that arrives before the grant, and the kernel would send the SYN again
// only after a second. Therefore connect starts a new connection earlier.
func connect(ctx context.Context, service netip.AddrPort) (*net.TCPConn, error) {
	for dialTime := firstDialTimer; ; dialTime *= 3 {
		d := net.Dialer{Timeout: min(dialTime, maxDialTime)}
		c, err := d.DialContext(ctx, "tcp", service.String())
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		if !timedOut(err) || dialTime >= maxDialTime || ctx.Err() != nil {
			return nil, err
		}
	}
}

var errClosedAtOnce = errors.New("the service closed the connection at once")
