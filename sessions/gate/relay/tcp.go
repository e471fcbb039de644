package relay

import (
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

// TCP carries connections to an upstream. The zero value of what is optional
// will do. Its methods may be called concurrently.
type TCP struct {
	Upstream string // host:port, resolved anew for each connection
	// ProxyProtocol begins with a header that tells the upstream who connects,
	// and to where (PROXY protocol, version 2).
	ProxyProtocol bool
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
// the caller at any time, to end it. An UpstreamError means that it never
// began.
func (t TCP) Carry(ctx context.Context, conn *net.TCPConn) error {
	dialer := net.Dialer{Timeout: dialTimeout}
	c, err := dialer.DialContext(ctx, "tcp", t.Upstream)
	if err != nil {
		abort(conn)
		return &UpstreamError{t.Upstream, err}
	}
	up := c.(*net.TCPConn)
	stop := context.AfterFunc(ctx, func() { abort(conn, up) })
	defer stop()
	if t.ProxyProtocol {
		header := proxyproto.HeaderProxyFromAddrs(2, conn.RemoteAddr(), conn.LocalAddr())
		if _, err := header.WriteTo(up); err != nil {
			abort(conn, up)
			return fmt.Errorf("send the PROXY header to %s: %w", t.Upstream, err)
		}
	}
	answers := make(chan error, 1)
	go func() { answers <- oneWay(conn, up) }()
	asked := oneWay(up, conn)
	if err := errors.Join(asked, <-answers); err != nil {
		return err
	}
	return errors.Join(conn.Close(), up.Close())
}

// oneWay copies until the source has no more to say, and passes that on. When
// it cannot, it breaks both, and the other direction with them.
func oneWay(to, from *net.TCPConn) error {
	_, err := io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	// Who has closed both ways by then has nothing left to hear of.
	if err != nil && !errors.Is(err, net.ErrClosed) {
		abort(to, from)
		return fmt.Errorf("carry a connection: %w", err)
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
