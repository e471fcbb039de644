package tunnel

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// closeTime is how long Close waits until the peer has taken the end of file.
const closeTime = 5 * time.Second

// Close ends this direction, if it has not ended, and closes the tunnel; a Write that is
// under way becomes an Abort. It waits for at most 15 seconds for the peer, which reads
// all that was written if it reads on.
func (c *Conn) Close() error {
	if !c.writing.TryLock() {
		c.Abort()
		return nil
	}
	err := error(nil)
	if !c.writeEnded {
		c.writeEnded = true
		c.writeDeadline.set(time.Now().Add(closeTime))
		err = c.send(websocket.MessageBinary, nil)
	}
	c.writing.Unlock()
	if err != nil {
		c.Abort() // the peer has gone
		return nil
	}
	c.refuse(websocket.StatusNormalClosure, "")
	return nil
}

// Refuse closes a tunnel with a reason that the peer can show, of at most 123 bytes. The
// peer sees no end of file.
func (c *Conn) Refuse(reason string) { c.refuse(websocket.StatusTryAgainLater, reason) }

// Done is closed when the tunnel has ended, by either end.
func (c *Conn) Done() <-chan struct{} { return c.closed }

func (c *Conn) refuse(code websocket.StatusCode, reason string) {
	c.closing.Do(func() {
		c.cause.CompareAndSwap(nil, &net.ErrClosed)
		c.keep.Stop()
		c.ws.Close(code, reason)
		c.stop()
	})
}

// Abort closes the tunnel at once. The peer sees a reset.
func (c *Conn) Abort() { c.abort(net.ErrClosed) }

// abort is Abort, with the error of later calls.
func (c *Conn) abort(err error) {
	c.closing.Do(func() {
		c.cause.CompareAndSwap(nil, &err)
		c.ws.CloseNow()
		c.stop()
	})
}

// stop releases all that wait.
func (c *Conn) stop() {
	close(c.closed)
	c.keep.Stop()
	c.silence.Stop()
	c.stall.Stop()
}

// ended is the error of a tunnel that has ended without an end of file, for an error of
// the WebSocket.
func (c *Conn) ended(err error) error {
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	var by websocket.CloseError
	switch {
	case errors.As(err, &by) && by.Reason != "":
		return fmt.Errorf("the tunnel was closed: %s (%d): %w", by.Reason, by.Code, syscall.ECONNRESET)
	case errors.As(err, &by):
		return fmt.Errorf("the tunnel was closed (%d): %w", by.Code, syscall.ECONNRESET)
	}
	return fmt.Errorf("the tunnel broke: %w", syscall.ECONNRESET)
}
