package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	Upstream Upstream // a name is resolved for each connection
	// OwnerUID is the user to whom the upstream must belong: a socket of this host,
	// of which the other end is a process of that user. nil: any user, but not this
	// process, whose Unix sockets trust this process.
	OwnerUID *uint32
	// ProxyProtocol sends a header to the upstream first, with the client's
	// address and the local one (PROXY protocol, version 2).
	ProxyProtocol bool
	// Port replaces the port of the local address in the header, where the client's
	// connection was redirected; 0: it was not.
	Port uint16
	// Remote and Local replace the addresses of the client's connection in the header,
	// where that is one end of a tunnel; nil: its own.
	Remote, Local net.Addr
	DialTimeout   time.Duration // 0: 10 s
	// Reset resets a connection whose upstream cannot be reached. Otherwise it ends in
	// order, since its client would take a reset for that of a stranger's connection.
	Reset bool
	// Dial connects to the upstream; nil: a net.Dialer. It must return a
	// *net.TCPConn, or for a Unix socket a *net.UnixConn.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Begins receives the local address that the upstream sees; nil: no call, and
	// then this end of a Unix socket has no address.
	Begins func(local net.Addr)
	// Pause stops the copying when it is closed: all bytes that were read are written,
	// within PauseTime, and no further byte is read. Then Paused gets both connections, before Carry
	// closes them; it must duplicate what it keeps. It returns false if it keeps nothing:
	// the connection is then reset, as one is that cannot be paused in time. nil: never.
	Pause     <-chan struct{}
	Paused    func(Pair) bool
	PauseTime time.Duration // 0: 5 s
}

// Carried is how many bytes a connection has carried.
type Carried struct{ ToUpstream, ToClient int64 }

// UpstreamError means that the upstream did not accept a connection.
type UpstreamError struct {
	Upstream Upstream
	err      error
}

func (e *UpstreamError) Error() string { return fmt.Sprintf("reach %s: %v", e.Upstream, e.err) }

func (e *UpstreamError) Unwrap() error { return e.err }

// Carry connects to the upstream and copies both ways until both sides have
// sent an end of file. A side that has sent it can still receive; a reset of
// one side resets the other, as far as it can be: see the package comment. Where the kernel
// supports splice(2), bytes do not leave the kernel. There is no idle timeout: the
// keepalive probes of the net package detect dead peers. Carry always closes conn;
// the caller may close it at any time, to end the connection, but must not set its
// deadlines. An UpstreamError means that the upstream did not accept the connection,
// or belongs to another user.
func (t TCP) Carry(ctx context.Context, conn *net.TCPConn) (n Carried, err error) {
	up, err := t.connect(ctx, conn)
	var unreachable *UpstreamError
	switch {
	case errors.As(err, &unreachable) && !t.Reset:
		endInOrder(ctx, conn)
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
		header := proxyproto.HeaderProxyFromAddrs(2, cmp.Or(t.Remote, conn.RemoteAddr()), t.destination(conn))
		if _, err := header.WriteTo(up); err != nil {
			abort(conn, up)
			return n, fmt.Errorf("send the PROXY header to %s: %w", t.Upstream, err)
		}
	}
	return t.copyBoth(conn, up, false)
}

// destination returns the address that the client has connected to.
func (t TCP) destination(conn *net.TCPConn) net.Addr {
	to := cmp.Or(t.Local, conn.LocalAddr())
	local, ok := to.(*net.TCPAddr)
	if !ok || t.Port == 0 {
		return to
	}
	return &net.TCPAddr{IP: local.IP, Port: int(t.Port), Zone: local.Zone}
}

// connect dials the upstream, until the client disconnects, and checks its owner.
func (t TCP) connect(ctx context.Context, conn *net.TCPConn) (stream, error) {
	dialing, cancel := context.WithTimeout(ctx, cmp.Or(t.DialTimeout, dialTimeout))
	defer cancel()
	clientGone := false
	stopWatch := watchForReset(conn, func() {
		clientGone = true
		cancel()
	})
	up, err := t.dial(dialing)
	stopWatch()
	if err == nil && !clientGone && ctx.Err() == nil {
		err = t.checkOwner(up)
	}
	switch {
	case clientGone || ctx.Err() != nil:
		if up != nil {
			abort(up)
		}
		// A client that disconnected, or was cut off, is no fault of the
		// upstream.
		return nil, fmt.Errorf("connect to %s: %w", t.Upstream, cmp.Or(ctx.Err(), errGone))
	case err != nil:
		if up != nil {
			abort(up)
		}
		return nil, &UpstreamError{t.Upstream, err}
	}
	return up, nil
}
