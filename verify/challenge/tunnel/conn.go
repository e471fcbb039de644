package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	// MaxMessage is the longest message in bytes, of either direction.
	MaxMessage = 32 << 10
	// KeepaliveTime is how long an end sends nothing. Proxies end a silent connection,
	// many of them after 60 seconds.
	KeepaliveTime = 20 * time.Second
	// SilentTime is how long the other end may send nothing, while this one reads.
	SilentTime = 90 * time.Second
	// StallTime is how long the other end may take nothing of a message. It is long,
	// since a program may stop reading for a while.
	StallTime = 10 * time.Minute
)

var (
	errSilent  = fmt.Errorf("nothing came through the tunnel for %s", SilentTime)
	errStalled = fmt.Errorf("the other end of the tunnel took nothing for %s", StallTime)
)

// Conn is a tunnel: a net.Conn whose directions can end one by one. Its methods may be
// called concurrently. A write deadline that passes during a Write ends the tunnel: part
// of a message may have been sent.
type Conn struct {
	ws            *websocket.Conn
	local, remote net.Addr
	closed        chan struct{} // no method waits any longer
	closing       sync.Once
	cause         atomic.Pointer[error] // of the end
	silence       *time.Timer           // runs while the pump waits for the peer
	stall         *time.Timer           // runs while a message is being sent
	keep          *time.Timer

	reading      sync.Mutex
	left         []byte      // of the message that is being read
	buffer       []byte      // its buffer
	messages     chan []byte // whole ones, from the pump; closed at the end
	free         chan []byte
	readDeadline deadline
	readErr      error // why messages is closed: io.EOF, or the end of the tunnel

	writing       sync.Mutex
	writeEnded    bool // CloseWrite was called; guarded by writing
	writeDeadline deadline
	sent          atomic.Int64 // when a message was sent last, in nanoseconds since began
	began         time.Time
}

// New makes a tunnel of a WebSocket that was just opened, without subprotocol and
// compression. The addresses are those that LocalAddr and RemoteAddr return.
func New(ws *websocket.Conn, local, remote net.Addr) *Conn {
	ws.SetReadLimit(MaxMessage)
	c := &Conn{
		ws: ws, local: local, remote: remote, closed: make(chan struct{}),
		messages: make(chan []byte), free: make(chan []byte, 2),
		readDeadline: newDeadline(), writeDeadline: newDeadline(), began: time.Now(),
	}
	c.free <- make([]byte, MaxMessage+1)
	c.free <- make([]byte, MaxMessage+1)
	c.silence = time.AfterFunc(SilentTime, func() { c.abort(errSilent) })
	c.stall = time.AfterFunc(StallTime, func() { c.abort(errStalled) })
	c.stall.Stop()
	c.keep = time.AfterFunc(KeepaliveTime, c.keepalive)
	go c.pump()
	return c
}

// Read implements net.Conn. It returns io.EOF only if the peer has ended its direction.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.readDeadline.passed() {
		return 0, os.ErrDeadlineExceeded
	}
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.left) == 0 {
		select {
		case m, ok := <-c.messages:
			if !ok {
				return 0, c.readErr
			}
			c.buffer, c.left = m, m
		case <-c.readDeadline.wait():
			return 0, os.ErrDeadlineExceeded
		}
	}
	n := copy(p, c.left)
	if c.left = c.left[n:]; len(c.left) == 0 {
		c.free <- c.buffer[:cap(c.buffer)]
	}
	return n, nil
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.writeEnded {
		return 0, net.ErrClosed
	}
	for len(p) > 0 {
		m := p[:min(len(p), MaxMessage)]
		if err := c.send(websocket.MessageBinary, m); err != nil {
			return n, err
		}
		n, p = n+len(m), p[len(m):]
	}
	return n, nil
}

// send sends a message. The caller holds the lock.
func (c *Conn) send(t websocket.MessageType, m []byte) error {
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	if c.writeDeadline.passed() {
		return os.ErrDeadlineExceeded
	}
	c.stall.Reset(StallTime)
	stop := c.writeDeadline.during(c.Abort)
	err := c.ws.Write(context.Background(), t, m)
	stop()
	c.stall.Stop()
	c.sent.Store(int64(time.Since(c.began)))
	switch {
	case err == nil:
		return nil
	case c.writeDeadline.passed():
		return os.ErrDeadlineExceeded
	}
	return c.ended(err)
}

// CloseWrite ends this direction: the peer reads an end of file after all that was
// written. The other direction stays.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.writeEnded {
		return nil
	}
	c.writeEnded = true
	return c.send(websocket.MessageBinary, nil)
}

// keepalive sends a message without bytes, if none was sent for a while. A writer that
// is at work needs none.
func (c *Conn) keepalive() {
	next := KeepaliveTime - (time.Since(c.began) - time.Duration(c.sent.Load()))
	if next <= 0 {
		next = KeepaliveTime
		if c.writing.TryLock() {
			err := c.send(websocket.MessageText, nil)
			c.writing.Unlock()
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
		}
	}
	select {
	case <-c.closed:
	default:
		c.keep.Reset(next)
	}
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { c.readDeadline.set(t); return nil }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { c.writeDeadline.set(t); return nil }
