package forward

import (
	"cmp"
	"context"
	"io"
	"net"
)

// carry writes the data that was read from the service already, copies both ways until both
// sides have sent an end of file, and closes both connections. Either side may end its
// direction before. A reset of one side, or the end of ctx, resets both. It returns the
// first error.
func carry(ctx context.Context, local, remote Conn, first []byte) error {
	defer local.Close()
	defer remote.Close()
	defer context.AfterFunc(ctx, func() { abort(local, remote) })()
	type end struct {
		from Conn
		err  error
	}
	ends := make(chan end, 2)
	go func() { ends <- end{local, copyOneWay(remote, local, nil)} }()
	go func() { ends <- end{remote, copyOneWay(local, remote, first)} }()
	e := <-ends
	if e.err == nil {
		// No goroutine reads from it any longer: without the watch, its reset would go
		// unnoticed while the other side is silent.
		defer watch(bare(e.from), func(reset bool) {
			if reset {
				abort(local, remote)
			} else {
				// The program has closed its Unix socket, and reads no answer: as a
				// kernel would, refuse it.
				remote.Close()
			}
		})()
	}
	return cmp.Or(e.err, (<-ends).err)
}

// watch is watchEnd, also for a tunnel, whose end is always a reset.
func watch(c Conn, f func(reset bool)) (stop func()) {
	tunnel, ok := c.(interface{ Done() <-chan struct{} })
	if !ok {
		return watchEnd(c, f)
	}
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-tunnel.Done():
			f(true)
		case <-stopped:
		}
	}()
	return func() {
		close(stopped)
		<-ended
	}
}

// bare returns the connection itself, of one that could be replaced in its first moments.
// One that has ended in order is not replaced.
func bare(c Conn) Conn {
	if s, ok := c.(*steady); ok {
		c, _ = s.current()
	}
	if t, ok := c.(interface{ TCP() *net.TCPConn }); ok {
		return t.TCP()
	}
	return c
}

// copyOneWay copies until the end of file, and passes that on. If it cannot, it resets
// both connections, which also ends the other direction.
func copyOneWay(to, from Conn, first []byte) (err error) {
	if len(first) > 0 {
		_, err = to.Write(first)
	}
	if err == nil {
		_, err = io.Copy(to, from)
	}
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		abort(to, from)
	}
	return err
}

// abort resets connections: after an orderly close, incomplete data would pass for
// complete. A Unix socket has no reset: its program sees an end of file.
func abort(conns ...net.Conn) {
	for _, c := range conns {
		if tcp, ok := c.(interface{ SetLinger(int) error }); ok {
			tcp.SetLinger(0)
		}
		c.Close()
	}
}
