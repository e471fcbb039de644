package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/sockowner"
	"sallyport/sessions/socketpath"
)

// The pauses between attempts to connect to a Unix socket whose backlog is full: the
// kernel reports no event when it has room.
const (
	firstPause = time.Millisecond
	mostPause  = 500 * time.Millisecond
)

// dial connects to the upstream. The connection is nil if it fails.
func (t TCP) dial(ctx context.Context) (stream, error) {
	network, address := t.Upstream.network()
	dial := t.Dial
	if dial == nil {
		d := new(net.Dialer)
		if network == "unix" && t.Begins != nil {
			d.Control = bindName
		}
		dial = d.DialContext
	}
	if network == "unix" {
		dial = patiently(dial)
	}
	c, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	_, isTCP := c.(*net.TCPConn)
	_, isUnix := c.(*net.UnixConn)
	if network == "tcp" && !isTCP || network == "unix" && !isUnix {
		c.Close()
		return nil, fmt.Errorf("expected a connection of type %s, got %T", network, c)
	}
	return c.(stream), nil
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// patiently returns a dial that reaches paths of any length, and waits while the
// backlog of the socket is full, as the kernel does for TCP.
func patiently(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, path string) (c net.Conn, err error) {
		var full error
		for pause := firstPause; ; pause = min(2*pause, mostPause) {
			err = socketpath.Use(path, func(short string) (err error) {
				c, err = dial(ctx, network, short)
				return err
			})
			switch {
			case errors.Is(err, syscall.EAGAIN):
				full = err
			case err != nil && ctx.Err() != nil:
				return nil, cmp.Or(full, err) // the time is over
			default:
				return c, err
			}
			select {
			case <-ctx.Done():
				return nil, full
			case <-time.After(pause):
			}
		}
	}
}

// bindName gives a Unix socket an unused name in the abstract namespace, by which the
// upstream can distinguish connections (autobind, unix(7)). If there is none, the
// connection has no name.
func bindName(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { unix.Bind(int(fd), &unix.SockaddrUnix{}) })
}

// errSelf means that a Unix upstream is a socket of this process, such as the
// administrator's: it would take each client for the server's user.
var errSelf = errors.New("it is a socket of this server")

// checkOwner checks to whom the other end of a connection belongs.
func (t TCP) checkOwner(up stream) error {
	switch c := up.(type) {
	case *net.UnixConn:
		uid, pid, err := sockowner.UnixPeer(c)
		if t.OwnerUID == nil {
			if err == nil && pid == os.Getpid() {
				err = errSelf
			}
			return err
		}
		return sockowner.Require(uid, *t.OwnerUID, err)
	case *net.TCPConn:
		if t.OwnerUID == nil {
			return nil
		}
		uid, err := sockowner.Accepted(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
		return sockowner.Require(uid, *t.OwnerUID, err)
	}
	return nil
}
