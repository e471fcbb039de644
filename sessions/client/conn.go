package client

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// greetingTime is how long the rest of a greeting may take.
	greetingTime = 10 * time.Millisecond

	// upstreamTime is how long after its beginning a connection that the service closes
	// without a byte shows why: a proxy takes that long to find that its upstream does not
	// answer.
	upstreamTime = 12 * time.Second
)

// Conn is a connection to the service, without keepalive. It is a net.Conn, of which one
// goroutine at a time may read, and one may write.
//
// In its first moments, until the service has sent a byte, a Conn may change to another
// TCP connection (steady.go).
type Conn struct {
	greeted    atomic.Bool // the service has sent data
	halfClosed atomic.Bool // CloseWrite was called
	steady

	mu      sync.Mutex
	tcp     *net.TCPConn
	first   []byte // read before, and not yet returned by Read
	began   time.Time
	proof   time.Duration // at this age, a reset is hardly that of a stranger's connection
	options map[string]func(*net.TCPConn) error
	closed  bool

	proved   bool              // by the handshake of package preamble
	granted  bool              // only granted addresses can have such a connection
	explain  func(error) error // returns the error of a connection that ends at once; may be nil
	cancel   context.CancelFunc
	recorded chan struct{} // closed when the result is on disk; nil: it is
}

func newConn(tcp *net.TCPConn) *Conn {
	return &Conn{tcp: tcp, began: time.Now(), cancel: func() {}, steady: steady{over: true, ctx: context.Background()}}
}

func (c *Conn) current() (tcp *net.TCPConn, age time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tcp, time.Since(c.began)
}

// TCP returns the TCP connection, for a program that needs it alone. The Conn keeps it
// from then on: its caller sees each reset. On Linux and macOS, nothing was read from a
// connection from which Read has returned nothing.
func (c *Conn) TCP() *net.TCPConn {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.settledLocked() {
		c.outlast() // an error shows in the connection
		c.settle()
	}
	tcp, _ := c.current()
	return tcp
}

// ReadFrom makes io.Copy use Write in the first moments, and then TCPConn.ReadFrom.
func (c *Conn) ReadFrom(r io.Reader) (read int64, err error) {
	b := make([]byte, 16<<10)
	for !c.settled() {
		n, err := r.Read(b)
		if n > 0 {
			if _, failed := c.Write(b[:n]); failed != nil {
				return read, failed
			}
			read += int64(n)
		}
		if err == io.EOF {
			return read, nil
		} else if err != nil {
			return read, err
		}
	}
	tcp, _ := c.current()
	more, err := tcp.ReadFrom(r)
	return read + more, err
}

// CloseWrite ends the caller's side of the connection.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.halfClosed.Store(true)
	tcp, _ := c.current()
	return tcp.CloseWrite()
}

// Close implements net.Conn. It waits until the client has recorded that the service
// opened.
func (c *Conn) Close() error {
	c.cancel()
	c.mu.Lock()
	c.closed = true
	err := c.tcp.Close()
	c.mu.Unlock()
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
	if c.greeted.Load() && c.tcp.SetReadDeadline(time.Now().Add(greetingTime)) == nil {
		c.tcp.Read(make([]byte, 4096))
	}
}
