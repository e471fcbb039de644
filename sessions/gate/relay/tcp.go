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

// dialTimeout is how long an upstream has to take a connection.
const dialTimeout = 10 * time.Second

var errGone = errors.New("the client is gone")

// TCP carries connections to an upstream. The zero value of what is optional
// will do. Its methods may be called concurrently.
type TCP struct {
	Upstream string // host:port, resolved anew for each connection
	// ProxyProtocol begins with a header that tells the upstream who connects,
	// and to where (PROXY protocol, version 2).
	ProxyProtocol bool
	DialTimeout   time.Duration // 0: 10 s
	// Dial connects to the upstream; nil: a net.Dialer. What it returns must be
	// a *net.TCPConn.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// UpstreamError says that the upstream did not take a connection.
type UpstreamError struct {
	Upstream string
	err      error
}

func (e *UpstreamError) Error() string { return fmt.Sprintf("reach %s: %v", e.Upstream, e.err) }

func (e *UpstreamError) Unwrap() error { return e.err }

// Carry connects to the upstream and copies both ways until both have said
// all. One side that has no more to say still hears the other; one that breaks
// breaks the other. Where the kernel can, bytes do not leave it (splice(2)).
// There is no limit to how long a connection is idle: the keepalive probes of
// the net package find out who is gone. Carry closes conn in every case; so may
// the caller at any time, to end it, but its deadlines are Carry's. An
// UpstreamError means that the upstream is why it never began.
func (t TCP) Carry(ctx context.Context, conn *net.TCPConn) error {
	up, err := t.connect(ctx, conn)
	if err != nil {
		abort(conn)
		return err
	}
	stop := context.AfterFunc(ctx, func() { abort(conn, up) })
	defer stop()
	if t.ProxyProtocol {
		header := proxyproto.HeaderProxyFromAddrs(2, conn.RemoteAddr(), conn.LocalAddr())
		if _, err := header.WriteTo(up); err != nil {
			abort(conn, up)
			return fmt.Errorf("send the PROXY header to %s: %w", t.Upstream, err)
		}
	}
	return both(conn, up)
}

// connect dials the upstream, for as long as the client is there to be carried.
func (t TCP) connect(ctx context.Context, conn *net.TCPConn) (*net.TCPConn, error) {
	dialing, cancel := context.WithTimeout(ctx, cmp.Or(t.DialTimeout, dialTimeout))
	defer cancel()
	dial := t.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	broke := false
	unwatch := watch(conn, func() {
		broke = true
		cancel()
	})
	c, err := dial(dialing, "tcp", t.Upstream)
	unwatch()
	up, ok := c.(*net.TCPConn)
	switch {
	case broke || ctx.Err() != nil:
		if ok {
			abort(up)
		}
		// That a client gave up, or was cut, says nothing of the upstream.
		return nil, fmt.Errorf("connect to %s: %w", t.Upstream, cmp.Or(ctx.Err(), errGone))
	case err != nil:
		return nil, &UpstreamError{t.Upstream, err}
	case !ok:
		c.Close()
		return nil, fmt.Errorf("connect to %s: %T is no TCP connection", t.Upstream, c)
	}
	return up, nil
}

// both copies both ways, and then closes both in order.
func both(conn, up *net.TCPConn) error {
	type end struct {
		from *net.TCPConn
		err  error
	}
	defer conn.Close()
	defer up.Close()
	ends := make(chan end, 2)
	go func() { ends <- end{conn, oneWay(up, conn)} }()
	go func() { ends <- end{up, oneWay(conn, up)} }()
	first := <-ends
	if first.err == nil {
		// Nobody reads from it any more, so nobody else would hear of its reset
		// while the other side is silent. The watch ends before they are closed,
		// or it would take that for a break.
		defer watch(first.from, func() { abort(conn, up) })()
	}
	second := <-ends
	if err := errors.Join(first.err, second.err); err != nil {
		return fmt.Errorf("carry a connection: %w", err)
	}
	return nil
}

// oneWay copies until the source has no more to say, and passes that on. When
// it cannot, it breaks both, and the other direction with them.
func oneWay(to, from *net.TCPConn) error {
	_, err := io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		abort(to, from)
	}
	return err
}

// abort resets connections: closed in order, they would pass for complete.
func abort(conns ...*net.TCPConn) {
	for _, c := range conns {
		c.SetLinger(0)
		c.Close()
	}
}
