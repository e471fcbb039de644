package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
)

// stream is a *net.TCPConn or a *net.UnixConn.
type stream interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// copyBoth copies both ways, and then closes both connections in order.
func copyBoth(conn *net.TCPConn, up stream) (n Carried, err error) {
	type end struct {
		from stream
		err  error
	}
	defer conn.Close()
	defer up.Close()
	ends := make(chan end, 2)
	go func() { ends <- end{conn, copyOneWay(up, conn, &n.ToUpstream)} }()
	go func() { ends <- end{up, copyOneWay(conn, up, &n.ToClient)} }()
	first := <-ends
	var closed atomic.Bool
	if first.err == nil || errors.Is(first.err, errUnread) {
		// No goroutine reads from it any longer: without the watch its reset
		// would go unnoticed while the other side is silent. The watch ends
		// before the connections are closed, because it would report that as a
		// reset.
		defer watchEnd(first.from, func(reset bool) {
			if !reset {
				// The program has closed its socket, which only a Unix socket
				// shows. Its answer is on the way. It reads nothing further from
				// the client, to which the kernel now replies with a reset.
				closed.Store(true)
				conn.Close()
				return
			}
			abort(conn, up)
		})()
	}
	second := <-ends
	if closed.Load() && errors.Is(second.err, net.ErrClosed) {
		second.err = nil
	}
	if err := errors.Join(first.err, second.err); err != nil {
		return n, fmt.Errorf("carry a connection: %w", err)
	}
	return n, nil
}

// errUnread means that bytes of the client are lost, because the program at a Unix
// socket has closed it, or has ended its reading.
var errUnread = errors.New("the upstream no longer reads")

// copyOneWay copies until the source's end of file, and passes that on. If it
// cannot, it resets both connections, which also ends the other direction. It stores
// the number of bytes in n.
func copyOneWay(to, from stream, n *int64) (err error) {
	*n, err = io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if _, isUnix := to.(*net.UnixConn); isUnix && errors.Is(err, syscall.EPIPE) {
		// The other direction continues: an answer that the program has sent before
		// is still on the way.
		return errUnread
	}
	if err != nil {
		abort(to, from)
	}
	return err
}

// abort resets connections: after an orderly close, incomplete data would pass
// for complete. A Unix socket has no reset: see the package comment.
func abort(conns ...stream) {
	for _, c := range conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		c.Close()
	}
}
