package client

import (
	"fmt"
	"io"
	"net"
	"time"

	"sallyport/sessions/syserror"
)

// Read implements net.Conn. If the service ends the connection without a byte, soon after
// its beginning, Read returns an OfflineError in place of io.EOF or of the reset: unless
// the end is in order and CloseWrite was called, the service has not done its work.
func (c *Conn) Read(b []byte) (int, error) {
	for {
		if n := c.takeFirst(b); n > 0 {
			return n, nil
		}
		tcp, age, n, err := c.read(b)
		switch {
		case n > 0:
			return n, err
		case err == io.EOF || isReset(err):
			if c.greeted.Load() {
				return n, err
			}
			if changed, err := c.change(tcp, err); err != nil {
				return n, c.ended(err, age)
			} else if changed {
				continue
			}
		}
		return n, err
	}
}

// read reads from the TCP connection, and records what a writer must know of it.
func (c *Conn) read(b []byte) (tcp *net.TCPConn, age time.Duration, n int, err error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	tcp, age = c.current()
	if n, err = tcp.Read(b); n > 0 {
		c.greeted.Store(true)
	} else if isReset(err) {
		c.reset = tcp
	}
	return tcp, age, n, err
}

// takeFirst reads what the client has read before.
func (c *Conn) takeFirst(b []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := copy(b, c.first)
	c.first = c.first[n:]
	return n
}

// ended returns the error of a connection that ended without a byte of the service.
func (c *Conn) ended(err error, age time.Duration) error {
	atOnce := (err == io.EOF || c.proved) && age < upstreamTime || isReset(err) && age < c.firstMoments()
	if !atOnce || c.explain == nil || c.halfClosed.Load() && !isReset(err) {
		return err
	}
	if c.proved {
		err = fmt.Errorf("%w: %w", errProved, err)
	}
	return c.explain(fmt.Errorf("%w: %w", errClosedAtOnce, err))
}

// isReset reports whether an error is that of a connection that the peer has reset.
func isReset(err error) bool {
	return syserror.Reset.In(err) || syserror.Broken.In(err)
}

// WriteTo makes io.Copy use Read for the first data, and then TCPConn.WriteTo.
func (c *Conn) WriteTo(w io.Writer) (written int64, err error) {
	b := make([]byte, 4096)
	for n := c.takeFirst(b); n > 0 || !c.greeted.Load(); n = 0 {
		var err error
		if n == 0 {
			n, err = c.Read(b)
		}
		if n > 0 {
			m, failed := w.Write(b[:n])
			if written += int64(m); failed != nil {
				return written, failed
			}
		}
		if err == io.EOF {
			return written, nil
		} else if err != nil {
			return written, err
		}
	}
	tcp, _ := c.current()
	more, err := tcp.WriteTo(w)
	return written + more, err
}
