package relay

import (
	"io"
	"net"
)

// Tunnel is the end of a tunnel on this host.
type Tunnel interface {
	net.Conn
	CloseWrite() error
	// Abort closes the tunnel. Its other end reads an error, not an end of file.
	Abort()
	// Done is closed when the tunnel has ended, by either end.
	Done() <-chan struct{}
}

// Bridge copies both ways between a tunnel and a connection of this host, until both
// sides have sent an end of file. The abort of one is a reset of the other. It closes
// both.
func Bridge(t Tunnel, conn *net.TCPConn) {
	broken := func() {
		t.Abort()
		abort(conn)
	}
	type end struct {
		fromTunnel bool
		err        error
	}
	ends := make(chan end, 2)
	oneWay := func(to, from net.Conn, closeWrite func() error, fromTunnel bool) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = closeWrite()
		}
		if err != nil {
			broken()
		}
		ends <- end{fromTunnel, err}
	}
	go oneWay(conn, t, conn.CloseWrite, true)
	go oneWay(t, conn, t.CloseWrite, false)
	// No goroutine reads from the side that has ended: its reset has to be noticed.
	first := <-ends
	stop := func() {}
	if first.err == nil && first.fromTunnel {
		stop = watchDone(t, broken)
	} else if first.err == nil {
		stop = watchForReset(conn, broken)
	}
	second := <-ends
	stop()
	if first.err == nil && second.err == nil {
		conn.Close()
		t.Close()
	}
}

// watchDone calls f if the tunnel ends before stop is called; after stop, f does not run.
func watchDone(t Tunnel, f func()) (stop func()) {
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-t.Done():
			f()
		case <-stopped:
		}
	}()
	return func() {
		close(stopped)
		<-ended
	}
}
