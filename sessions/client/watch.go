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
	firstPause   = 10 * time.Millisecond // between two tries to connect; doubles
	lastPause    = 250 * time.Millisecond
	dialLimit    = time.Second            // a lost SYN is sent again after a second anyway
	dialPatience = 120 * time.Millisecond // with the first SYN; triples

	// settle is how long a connection has to last: a server that is open for
	// another address accepts and resets.
	settle = 100 * time.Millisecond
)

// Conn is a connection to the service, of which the first byte may have been
// read already.
type Conn struct {
	*net.TCPConn
	first []byte
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

// WriteTo keeps io.Copy from passing Read by.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

// watch returns a connection as soon as the service answers, else the last
// failure.
func watch(ctx context.Context, service netip.AddrPort, timeout time.Duration) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last error
	// The pause comes first: the server needs a moment, too.
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
		// That the time is over says less than what was seen before.
		if last == nil || !timedOut(err) {
			last = err
		}
	}
}

// probe connects, and returns the connection if it lasts.
func probe(ctx context.Context, service netip.AddrPort) (*Conn, error) {
	c, err := reach(ctx, service)
	if err != nil {
		return nil, err
	}
	conn := &Conn{TCPConn: c}
	b := make([]byte, 1)
	if err = conn.SetReadDeadline(time.Now().Add(settle)); err == nil {
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

// reach connects. A service that hides in silence drops a SYN that overtakes
// the grant, and the kernel would send it again only after a second: another
// connection is tried before.
func reach(ctx context.Context, service netip.AddrPort) (*net.TCPConn, error) {
	for patience := dialPatience; ; patience *= 3 {
		d := net.Dialer{Timeout: min(patience, dialLimit)}
		c, err := d.DialContext(ctx, "tcp", service.String())
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		if !timedOut(err) || patience >= dialLimit || ctx.Err() != nil {
			return nil, err
		}
	}
}

var errClosedAtOnce = errors.New("the service closed the connection at once")
