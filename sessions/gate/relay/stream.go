package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
)

// stream is a *net.TCPConn or a *net.UnixConn.
type stream interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// copyBoth copies both ways, and then closes both connections in order. If it is paused,
// Paused gets the connections before.
func (t TCP) copyBoth(conn *net.TCPConn, up stream, resumed bool) (n Carried, err error) {
	type end struct {
		from stream
		err  error
	}
	defer conn.Close()
	defer up.Close()
	ends := make(chan end, 2)
	pause := pausing{resumed: resumed}
	pause.begin(t.Pause, t.PauseTime, conn, up)
	go func() { ends <- end{conn, pause.copyOneWay(up, conn, &n.ToUpstream)} }()
	go func() { ends <- end{up, pause.copyOneWay(conn, up, &n.ToClient)} }()
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
	pause.end()
	if paused := [2]error{first.err, second.err}; slices.Contains(paused[:], errPaused) {
		return n, t.paused(Pair{conn, up}, pause.late, paused)
	}
	if closed.Load() && errors.Is(second.err, net.ErrClosed) {
		second.err = nil
	}
	if err := errors.Join(first.err, second.err); err != nil {
		return n, fmt.Errorf("carry a connection: %w", err)
	}
	return n, nil
}

// paused passes on a connection that was paused. It resets one that is not whole.
func (t TCP) paused(p Pair, late bool, ends [2]error) error {
	whole := !late
	for _, err := range ends {
		whole = whole && (err == nil || errors.Is(err, errPaused))
	}
	if !whole || t.Paused == nil || !t.Paused(p) {
		abort(p.Client, p.Upstream.(stream))
		return fmt.Errorf("carry a connection: %w", errors.Join(ends[:]...))
	}
	return ErrPaused
}

// errUnread means that bytes of the client are lost, because the program at a Unix
// socket has closed it, or has ended its reading.
var errUnread = errors.New("the upstream no longer reads")

// copyOneWay copies until the source's end of file, and passes that on. If it
// cannot, it resets both connections, which also ends the other direction. It stores
// the number of bytes in n.
func (p *pausing) copyOneWay(to, from stream, n *int64) (err error) {
	*n, err = io.Copy(to, from)
	if err = p.of(err); err == nil {
		err = to.CloseWrite()
		if p.resumed && errors.Is(err, syscall.ENOTCONN) {
			err = nil // both sides have sent an end of file; a reset shows when the other direction reads
		}
	}
	if errors.Is(err, errPaused) {
		return errPaused
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
