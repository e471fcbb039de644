package relay

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestSingleFlow: the socket carries the first flow of an allowed address. A
// client's port may have another flow on another socket.
func TestSingleFlow(t *testing.T) {
	t.Parallel()
	u := newUDP(UDPConfig{Upstream: Upstream(echo(t, "127.0.0.1:0").LocalAddr().String()), Idle: time.Minute, Allows: func(netip.Addr) bool { return true }})
	defer u.Close()
	many, single := socketAt(t, "udp", "127.0.0.1:0"), socketAt(t, "udp", "127.0.0.1:0")
	go u.Serve(many)
	var begun atomic.Int32
	served := make(chan error, 1)
	go func() {
		allowed := func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.2") }
		served <- u.ServeSingleFlow(single, allowed, func() { begun.Add(1) })
	}()
	stranger, first, second := socketAt(t, "udp", "127.0.0.1:0"), socketAt(t, "udp", "127.0.0.2:0"), socketAt(t, "udp", "127.0.0.2:0")
	asked := func(c, from *net.UDPConn) bool {
		to := from.LocalAddr().(*net.UDPAddr)
		c.WriteToUDP([]byte("?"), to)
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, a, err := c.ReadFromUDP(make([]byte, 10))
		return err == nil && a.Port == to.Port
	}
	hears := func(c, from *net.UDPConn) bool {
		for range 2 { // a datagram may be lost
			if asked(c, from) {
				return true
			}
		}
		return false
	}
	heard := func(what string, c, from *net.UDPConn) {
		t.Helper()
		netns.Until(t, what, func() bool { return asked(c, from) })
	}
	heard("an answer where all may come", first, many)
	if hears(stranger, single) || begun.Load() != 0 {
		t.Error("a stranger began the flow")
	}
	heard("an answer to the first", first, single)
	if hears(second, single) || hears(stranger, single) || begun.Load() != 1 {
		t.Errorf("not one flow, of the first: %d began", begun.Load())
	}
	heard("an answer by the other socket", first, many)
	// Cut and Peers ignore the flow.
	u.Cut(func(netip.Addr, time.Time) bool { return true })
	heard("an answer after a cut", first, single)
	if len(u.Peers()) != 0 || u.Flows() != 1 {
		t.Errorf("after a cut: %d flows, peers %v", u.Flows(), u.Peers())
	}
	single.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if u.Flows() != 0 {
		t.Errorf("%d flows after the socket", u.Flows())
	}
}

func TestSocketEndsWithItsFlow(t *testing.T) {
	t.Parallel()
	u := newUDP(UDPConfig{Upstream: Upstream(echo(t, "127.0.0.1:0").LocalAddr().String()), Idle: 50 * time.Millisecond, Allows: func(netip.Addr) bool { return false }})
	defer u.Close()
	single, c := socketAt(t, "udp", "127.0.0.1:0"), socketAt(t, "udp", "127.0.0.1:0")
	served := make(chan error, 1)
	go func() { served <- u.ServeSingleFlow(single, func(netip.Addr) bool { return true }, nil) }()
	netns.Until(t, "the end of an idle flow's socket", func() bool {
		c.WriteTo([]byte("?"), single.LocalAddr())
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
			return true
		case <-time.After(200 * time.Millisecond): // longer than a flow is idle
			return false
		}
	})
	if _, err := single.WriteTo([]byte("?"), c.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Error("the socket is still there")
	}
}
