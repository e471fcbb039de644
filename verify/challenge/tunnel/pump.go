package tunnel

import (
	"context"
	"errors"
	"io"

	"github.com/coder/websocket"
)

// pump reads messages, until the tunnel ends.
func (c *Conn) pump() {
	err := c.receive(func(m []byte) bool {
		select {
		case c.messages <- m:
			return true
		case <-c.closed:
			return false
		}
	})
	if c.readErr = err; err != io.EOF {
		c.cause.CompareAndSwap(nil, &err)
	}
	close(c.messages)
	if err == io.EOF {
		// The peer sends nothing more, but the end of the tunnel has to be noticed.
		err = c.receive(func([]byte) bool { return false })
	}
	c.abort(err)
}

// receive calls f with the messages of the peer until its end of file: it then returns
// io.EOF. After f has returned false, it returns another error.
func (c *Conn) receive(f func([]byte) bool) error {
	for {
		var buffer []byte
		select {
		case buffer = <-c.free:
		case <-c.closed:
			return c.ended(nil)
		}
		c.silence.Reset(SilentTime)
		kind, n, err := c.message(buffer)
		c.silence.Stop()
		switch {
		case err != nil:
			return c.ended(err)
		case kind == websocket.MessageText && n == 0:
			c.free <- buffer // a keepalive
		case kind == websocket.MessageText:
			err := c.ended(nil)
			c.refuse(websocket.StatusUnsupportedData, "text")
			return err
		case n == 0:
			c.free <- buffer
			return io.EOF
		case !f(buffer[:n]):
			return c.ended(nil)
		}
	}
}

// message reads a message into a buffer that is longer than any.
func (c *Conn) message(buffer []byte) (kind websocket.MessageType, n int, err error) {
	kind, r, err := c.ws.Reader(context.Background())
	if err != nil {
		return kind, 0, err
	}
	if n, err = io.ReadFull(r, buffer); err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	} else if err == nil {
		err = errors.New("the message is too long")
	}
	return kind, n, err
}
