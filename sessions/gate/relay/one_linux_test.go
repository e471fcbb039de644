package relay

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// TestOneFlowOfASocket: the first of whom the socket allows. A client's port
// may have another by another socket.
func TestOneFlowOfASocket(t *testing.T) {
	t.Parallel()
	u := newUDP(UDPConfig{Upstream: echo(t, "127.0.0.1:0").LocalAddr().String(), Idle: time.Minute, Allows: func(netip.Addr) bool { return true }})
	defer u.Close()
	many, single := socketAt(t, "udp", "127.0.0.1:0"), socketAt(t, "udp", "127.0.0.1:0")
	go u.Serve(many)
	var begun atomic.Int32
	served := make(chan error, 1)
	go func() {
		allowed := func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.2") }
		served <- u.ServeOne(single, allowed, func() { begun.Add(1) })
	}()
	stranger, first, second := socketAt(t, "udp", "127.0.0.1:0"), socketAt(t, "udp", "127.0.0.2:0"), socketAt(t, "udp", "127.0.0.2:0")
	hears := func(c, from *net.UDPConn) bool {
		to := from.LocalAddr().(*net.UDPAddr)
		for range 5 {
			c.WriteToUDP([]byte("?"), to)
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, a, err := c.ReadFromUDP(make([]byte, 10)); err == nil && a.Port == to.Port {
				return true
			}
		}
		return false
	}
	if !hears(first, many) {
		t.Fatal("no answer where all may come")
	}
	if hears(stranger, single) || begun.Load() != 0 {
		t.Error("a stranger began the flow")
	}
	if !hears(first, single) || hears(second, single) || hears(stranger, single) || begun.Load() != 1 {
		t.Errorf("not one flow, of the first: %d began", begun.Load())
	}
	if !hears(first, many) {
		t.Error("no answer by the other socket")
	}
	// To cut an address, or to look for those that have flows, leaves it alone.
	u.Cut(func(netip.Addr) bool { return true })
	if !hears(first, single) || len(u.Peers()) != 0 || u.Flows() != 1 {
		t.Errorf("after a cut: %d flows, peers %v", u.Flows(), u.Peers())
	}
	single.Close()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("still served")
	}
	if u.Flows() != 0 {
		t.Errorf("%d flows after the socket", u.Flows())
	}
}

func TestSocketEndsWithItsFlow(t *testing.T) {
	t.Parallel()
	u := newUDP(UDPConfig{Upstream: echo(t, "127.0.0.1:0").LocalAddr().String(), Idle: 50 * time.Millisecond, Allows: func(netip.Addr) bool { return false }})
	defer u.Close()
	single, c := socketAt(t, "udp", "127.0.0.1:0"), socketAt(t, "udp", "127.0.0.1:0")
	served := make(chan error, 1)
	go func() { served <- u.ServeOne(single, func(netip.Addr) bool { return true }, nil) }()
	for end := time.Now().Add(time.Minute); ; {
		c.WriteTo([]byte("?"), single.LocalAddr())
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
			if _, err := single.WriteTo([]byte("?"), c.LocalAddr()); !errors.Is(err, net.ErrClosed) {
				t.Error("the socket is still there")
			}
			return
		case <-time.After(200 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatal("an idle flow's socket is still there")
		}
	}
}
