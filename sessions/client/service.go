package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"sallyport/verify/wire"
)

const (
	maxDialTime    = time.Second            // the kernel sends a lost SYN again after a second
	firstDialTimer = 120 * time.Millisecond // for the first SYN; triples

	// minLifetime is how long a connection must last: a server that is open for
	// another address accepts the connection and resets it.
	minLifetime = 100 * time.Millisecond

	// greetingTime is how long the rest of a greeting may take.
	greetingTime = 10 * time.Millisecond
)

// Conn is a connection to the service, without keepalive. On Linux and macOS, nothing
// was read from it. On other systems, the client may already have read the first byte
// of its data, which only Read returns.
type Conn struct {
	*net.TCPConn
	first   []byte // read before, and not yet returned by Read
	greeted bool   // the service has sent data
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

// connect connects to the service. A service that drops the packets of strangers
// drops a SYN that arrives before the grant, and the kernel would send the SYN again
// only after a second. Therefore connect starts a new connection earlier.
func connect(ctx context.Context, service netip.AddrPort, half bool, isn wire.ISN) (*net.TCPConn, error) {
	for dialTime := firstDialTimer; ; dialTime *= 3 {
		// Without keepalive, since its times could not be set back to those of the system.
		d := net.Dialer{Timeout: min(dialTime, maxDialTime), KeepAlive: -1}
		d.SetMultipathTCP(false) // its connections choose their numbers themselves
		d.Control = connControl(half, isn)
		c, err := d.DialContext(ctx, "tcp", service.String())
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		if !timedOut(err) || dialTime >= maxDialTime || ctx.Err() != nil {
			return nil, err
		}
	}
}

// connControl prepares the socket of a connection before it connects.
func connControl(half bool, isn wire.ISN) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) {
			if half {
				halfOpen(int(fd))
			}
			if isn != 0 {
				err = setISN(int(fd), isn)
			}
		})
		return errors.Join(failed, err)
	}
}

var errClosedAtOnce = errors.New("the service closed the connection at once")
