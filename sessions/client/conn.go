package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// greetingTime is how long the rest of a greeting may take.
const greetingTime = 10 * time.Millisecond

// firstMoments is how long after its beginning a connection that ends without a byte of
// the service shows why.
const firstMoments = 250 * time.Millisecond

// Conn is a connection to the service, without keepalive. On Linux and macOS, nothing
// was read from it. On other systems, the client may already have read the first byte
// of its data, which only Read returns. One goroutine at a time may read.
type Conn struct {
	*net.TCPConn
	first   []byte // read before, and not yet returned by Read
	greeted bool   // the service has sent data

	began      time.Time
	explain    func(error) error // returns the error of a connection that ends at once; may be nil
	halfClosed atomic.Bool
	recorded   chan struct{} // closed when the result is on disk; nil: it is
}

// Read implements net.Conn. If the service ends the connection within its first moments,
// without a byte, Read returns an OfflineError in place of io.EOF or of the reset: unless
// CloseWrite was called, the service has not done what the caller wants.
func (c *Conn) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	n, err := c.TCPConn.Read(b)
	c.greeted = c.greeted || n > 0
	atOnce := err == io.EOF || errors.Is(err, syscall.ECONNRESET)
	if atOnce && !c.greeted && c.explain != nil && !c.halfClosed.Load() && time.Since(c.began) < firstMoments {
		return n, c.explain(fmt.Errorf("%w: %w", errClosedAtOnce, err))
	}
	return n, err
}

// WriteTo makes io.Copy use Read for the first data, and then TCPConn.WriteTo.
func (c *Conn) WriteTo(w io.Writer) (written int64, err error) {
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if n > 0 {
		m, failed := w.Write(b[:n])
		if written = int64(m); failed != nil {
			return written, failed
		}
	}
	if err == io.EOF {
		return written, nil
	} else if err != nil {
		return written, err
	}
	more, err := c.TCPConn.WriteTo(w)
	return written + more, err
}

// CloseWrite ends the caller's side of the connection.
func (c *Conn) CloseWrite() error {
	c.halfClosed.Store(true)
	return c.TCPConn.CloseWrite()
}

// Close implements net.Conn. It waits until the client has recorded that the service
// opened.
func (c *Conn) Close() error {
	err := c.TCPConn.Close()
	if c.recorded != nil {
		<-c.recorded
	}
	return err
}

// closeInOrder closes a connection that only showed that the service answers. It reads
// the greeting first: unread data would turn the close into a reset.
func (c *Conn) closeInOrder() {
	if c == nil {
		return
	}
	defer c.Close()
	if c.greeted && c.SetReadDeadline(time.Now().Add(greetingTime)) == nil {
		c.TCPConn.Read(make([]byte, 4096))
	}
}
