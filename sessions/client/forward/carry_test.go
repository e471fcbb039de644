package forward

import (
	"io"
	"testing"
	"testing/synctest"
)

// tunnelConn is a connection that shows its end, as one through a web server does.
type tunnelConn struct {
	*conn
	done chan struct{}
}

func (c tunnelConn) Done() <-chan struct{} { return c.done }

// TestTunnelEndShows: a tunnel that ends after its end of file resets the local program,
// which is silent.
func TestTunnelEndShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		program, local := pair()
		service, remote := pair()
		tunnel, carried := tunnelConn{remote, make(chan struct{})}, make(chan error)
		go func() { carried <- carry(t.Context(), local, tunnel, nil) }()
		service.CloseWrite()
		if _, err := program.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
		close(tunnel.done)
		if err := <-carried; err == nil {
			t.Error("no error")
		}
		if _, err := program.Write([]byte("a")); err == nil {
			t.Error("the program can still write")
		}
	})
}
