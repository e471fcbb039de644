package client

import (
	"net"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/screen"
)

// TestReachTriesAgain: a SYN that overtakes the grant meets silence, and the
// kernel's own second one would come too late.
func TestReachTriesAgain(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	// On a busy machine the door may open when reach has given up.
	netns.Until(t, "a door that opened is found", func() bool {
		c, err := reachWhatOpens(t)
		if err == nil {
			c.Close()
		} else if !timedOut(err) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// reachWhatOpens has reach begin before a door opens.
func reachWhatOpens(t *testing.T) (*net.TCPConn, error) {
	lc := net.ListenConfig{Control: screen.Closed}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	time.AfterFunc(50*time.Millisecond, func() {
		_, err := screen.Attach(raw, screen.Set{All: true})
		opened <- err
	})
	c, err := reach(t.Context(), l.Addr().(*net.TCPAddr).AddrPort())
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	return c, err
}
