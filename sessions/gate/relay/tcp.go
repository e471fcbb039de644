package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// dialTimeout is the time in which an upstream must accept a connection.
const dialTimeout = 10 * time.Second

var errGone = errors.New("the client has disconnected")

// TCP carries connections to an upstream. Optional fields may be zero. Its
// methods may be called concurrently.
type TCP struct {
	Upstream string // host:port, resolved for each connection
	// ProxyProtocol sends a header to the upstream first, with the client's
	// address and the local one (PROXY protocol, version 2).
	ProxyProtocol bool
	DialTimeout   time.Duration // 0: 10 s
	// Dial connects to the upstream; nil: a net.Dialer. It must return a
	// *net.TCPConn.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Begins receives the local address that the upstream sees; nil: no call.
	Begins func(local net.Addr)
}

// Carried is how many bytes a connection has carried.
type Carried struct{ ToUpstream, ToClient int64 }

// UpstreamError means that the upstream did not accept a connection.
type UpstreamError struct {
	Upstream string
	err      error
}

func (e *UpstreamError) Error() string { return fmt.Sprintf("reach %s: %v", e.Upstream, e.err) }

func (e *UpstreamError) Unwrap() error { return e.err }

// Carry connects to the upstream and copies both ways until both sides have
// sent an end of file. A side that has sent it can still receive; a reset of
// one side resets the other. Where the kernel supports splice(2), bytes do not
// leave the kernel. There is no idle timeout: the keepalive probes of the net
// package detect dead peers. Carry always closes conn; the caller may close it
// at any time, to end the connection, but must not set its deadlines. An
// UpstreamError means that the upstream did not accept the connection.
func (t TCP) Carry(ctx context.Context, conn *net.TCPConn) (n Carried, err error) {
	up, err := t.connect(ctx, conn)
	var unreachable *UpstreamError
	switch {
	case errors.As(err, &unreachable):
		conn.Close() // in order: a reset would mean that the client is a stranger
		return n, err
	case err != nil:
		abort(conn)
		return n, err
	}
	if t.Begins != nil {
		t.Begins(up.LocalAddr())
	}
	stop := context.AfterFunc(ctx, func() { abort(conn, up) })
	defer stop()
	if t.ProxyProtocol {
		header := proxyproto.HeaderProxyFromAddrs(2, conn.RemoteAddr(), conn.LocalAddr())
		if _, err := header.WriteTo(up); err != nil {
			abort(conn, up)
			return n, fmt.Errorf("send the PROXY header to %s: %w", t.Upstream, err)
		}
	}
	return copyBoth(conn, up)
}

// connect dials the upstream, until the client disconnects.
func (t TCP) connect(ctx context.Context, conn *net.TCPConn) (*net.TCPConn, error) {
	dialing, cancel := context.WithTimeout(ctx, cmp.Or(t.DialTimeout, dialTimeout))
	defer cancel()
	dial := t.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	clientGone := false
	stopWatch := watchForReset(conn, func() {
		clientGone = true
		cancel()
	})
	c, err := dial(dialing, "tcp", t.Upstream)
	stopWatch()
	up, ok := c.(*net.TCPConn)
	switch {
	case clientGone || ctx.Err() != nil:
		if ok {
			abort(up)
		}
		// A client that disconnected, or was cut off, is no fault of the
		// upstream.
		return nil, fmt.Errorf("connect to %s: %w", t.Upstream, cmp.Or(ctx.Err(), errGone))
	case err != nil:
		return nil, &UpstreamError{t.Upstream, err}
	case !ok:
		c.Close()
		return nil, fmt.Errorf("connect to %s: expected a TCP connection, got %T", t.Upstream, c)
	}
	return up, nil
}

// copyBoth copies both ways, and then closes both connections in order.
func copyBoth(conn, up *net.TCPConn) (n Carried, err error) {
	type end struct {
		from *net.TCPConn
		err  error
	}
	defer conn.Close()
	defer up.Close()
	ends := make(chan end, 2)
	go func() { ends <- end{conn, copyOneWay(up, conn, &n.ToUpstream)} }()
	go func() { ends <- end{up, copyOneWay(conn, up, &n.ToClient)} }()
	first := <-ends
	if first.err == nil {
		// No goroutine reads from it any longer: without the watch its reset
		// would go unnoticed while the other side is silent. The watch ends
		// before the connections are closed, because it would report that as a
		// reset.
		defer watchForReset(first.from, func() { abort(conn, up) })()
	}
	second := <-ends
	if err := errors.Join(first.err, second.err); err != nil {
		return n, fmt.Errorf("carry a connection: %w", err)
	}
	return n, nil
}

// copyOneWay copies until the source's end of file, and passes that on. If it
// cannot, it resets both connections, which also ends the other direction. It stores
// the number of bytes in n.
func copyOneWay(to, from *net.TCPConn, n *int64) (err error) {
	*n, err = io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		abort(to, from)
	}
	return err
}

// abort resets connections: after an orderly close, incomplete data would pass
// for complete.
func abort(conns ...*net.TCPConn) {
	for _, c := range conns {
		c.SetLinger(0)
		c.Close()
	}
}
