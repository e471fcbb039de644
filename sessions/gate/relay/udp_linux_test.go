package relay

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
)

func socketAt(t testing.TB, network, address string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(limit))
	return c.(*net.UDPConn)
}

// echo answers every datagram with itself.
func echo(t testing.TB, address string) *net.UDPConn {
	c := socketAt(t, "udp", address)
	c.SetDeadline(time.Time{})
	go func() {
		b := make([]byte, readBuffer)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return c
}

// gate is whom a relay allows.
type gate struct {
	sync.Mutex
	refused map[netip.Addr]bool
}

func (g *gate) allows(a netip.Addr) bool {
	g.Lock()
	defer g.Unlock()
	return !g.refused[a]
}

func (g *gate) refuse(a string) {
	g.Lock()
	defer g.Unlock()
	g.refused[netip.MustParseAddr(a)] = true
}

func serve(t testing.TB, cfg UDPConfig, address string) (*UDP, *gate, netip.AddrPort) {
	t.Helper()
	g := &gate{refused: map[netip.Addr]bool{}}
	cfg.Allows, cfg.Log = g.allows, slog.New(slog.DiscardHandler)
	if cfg.PerAddress == 0 {
		cfg.PerAddress = 64
	}
	u := NewUDP(cfg)
	conn := socketAt(t, "udp", address)
	conn.SetDeadline(time.Time{})
	done := make(chan error, 1)
	go func() { done <- u.Serve(conn) }()
	t.Cleanup(func() {
		conn.Close()
		u.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return u, g, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// client is a socket of an address that talks to the relay.
func client(t testing.TB, from string, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(limit))
	return c
}

func exchange(c *net.UDPConn, b []byte) ([]byte, error) {
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	got := make([]byte, readBuffer)
	n, err := c.Read(got)
	return got[:n], err
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (u *UDP) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.flows)
}

func TestDatagramsComeAsTheyWere(t *testing.T) {
	upstream := echo(t, "127.0.0.1:0").LocalAddr().String()
	_, _, at := serve(t, UDPConfig{Upstream: upstream}, "127.0.0.1:0")
	c := client(t, "127.0.0.2", at)
	for _, n := range []int{1, 0, 1400, 65507} {
		want := make([]byte, n)
		rand.Read(want)
		if got, err := exchange(c, want); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
}

func TestStrangersMakeNothing(t *testing.T) {
	u, g, at := serve(t, UDPConfig{Upstream: echo(t, "127.0.0.1:0").LocalAddr().String()}, "127.0.0.1:0")
	g.refuse("127.0.0.9")
	stranger, friend := client(t, "127.0.0.9", at), client(t, "127.0.0.2", at)
	for range 100 {
		stranger.Write([]byte("x"))
	}
	// They are read in their order.
	if _, err := exchange(friend, []byte("y")); err != nil {
		t.Fatal(err)
	}
	if n := u.count(); n != 1 {
		t.Errorf("%d flows", n)
	}
	stranger.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Errorf("a stranger got %d bytes", n)
	}
}

// TestFlowsOfAnAddress: too many of one push out its own, and nobody else's.
func TestFlowsOfAnAddress(t *testing.T) {
	u, _, at := serve(t, UDPConfig{Upstream: echo(t, "127.0.0.1:0").LocalAddr().String(), PerAddress: 3}, "127.0.0.1:0")
	other := client(t, "127.0.0.3", at)
	if _, err := exchange(other, []byte("x")); err != nil {
		t.Fatal(err)
	}
	var greedy []*net.UDPConn
	for i := range 10 {
		c := client(t, "127.0.0.2", at)
		if _, err := exchange(c, []byte("x")); err != nil {
			t.Fatalf("flow %d: %v", i, err)
		}
		greedy = append(greedy, c)
	}
	if n := u.count(); n != 4 {
		t.Errorf("%d flows, want 3 and 1", n)
	}
	u.mu.Lock()
	for i, c := range greedy {
		_, there := u.flows[c.LocalAddr().(*net.UDPAddr).AddrPort()]
		if there != (i >= 7) {
			t.Errorf("flow %d is there: %v", i, there)
		}
	}
	u.mu.Unlock()
	if got, err := exchange(other, []byte("still")); err != nil || string(got) != "still" {
		t.Errorf("the other's: %q, %v", got, err)
	}
}

func TestCutFlows(t *testing.T) {
	u, g, at := serve(t, UDPConfig{Upstream: echo(t, "127.0.0.1:0").LocalAddr().String()}, "127.0.0.1:0")
	gone, stays := client(t, "127.0.0.2", at), client(t, "127.0.0.3", at)
	for _, c := range []*net.UDPConn{gone, stays} {
		if _, err := exchange(c, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	// A lease that is over ends no flow by itself.
	g.refuse("127.0.0.2")
	if _, err := exchange(gone, []byte("x")); err != nil {
		t.Errorf("a flow from before: %v", err)
	}
	stop := make(chan bool)
	var busy sync.WaitGroup
	busy.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				gone.Write([]byte("x"))
			}
		}
	})
	for range 200 {
		u.Cut(func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.2") })
		if peers := u.Peers(); len(peers) != 1 || peers[0] != netip.MustParseAddr("127.0.0.3") {
			t.Fatalf("after the cut: %v", peers)
		}
	}
	close(stop)
	busy.Wait()
	until(t, "an answer to the other, behind what still waits", func() bool {
		stays.SetDeadline(time.Now().Add(200 * time.Millisecond))
		_, err := exchange(stays, []byte("x"))
		return err == nil
	})
}

func TestIdleFlowsEnd(t *testing.T) {
	before, files := runtime.NumGoroutine(), openFiles(t)
	t.Run("flows", func(t *testing.T) {
		u, _, at := serve(t, UDPConfig{Upstream: echo(t, "127.0.0.1:0").LocalAddr().String(), Idle: 300 * time.Millisecond, PerAddress: 1}, "127.0.0.1:0")
		for i := range 500 {
			c := client(t, fmt.Sprintf("127.0.%d.%d", 1+i/250, 1+i%250), at)
			c.Write([]byte("x"))
			c.Close()
		}
		until(t, "flows", func() bool { return u.count() > 0 })
		until(t, "their end", func() bool { return u.count() == 0 })
	})
	until(t, "no goroutine and no socket left", func() bool { return runtime.NumGoroutine() <= before && openFiles(t) <= files })
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestUpstreamThatComesLater: an ICMP error ends nothing.
func TestUpstreamThatComesLater(t *testing.T) {
	free := socketAt(t, "udp", "127.0.0.1:0")
	address := free.LocalAddr().String()
	free.Close()
	_, _, at := serve(t, UDPConfig{Upstream: address}, "127.0.0.1:0")
	c := client(t, "127.0.0.2", at)
	for range 3 {
		c.Write([]byte("too early"))
		time.Sleep(10 * time.Millisecond)
	}
	echo(t, address)
	until(t, "an answer", func() bool {
		c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		got, err := exchange(c, []byte("now"))
		return err == nil && string(got) == "now"
	})
}

// TestAnswersLeaveTheWayThatDatagramsCame: on a host with several addresses.
func TestAnswersLeaveTheWayThatDatagramsCame(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	h := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "left", Addresses: []string{"198.51.100.1/24", "198.51.100.9/24", "2001:db8::1/64", "2001:db8::9/64"}}, h,
		netns.End{Name: "right", Addresses: []string{"198.51.100.2/24", "2001:db8::2/64"}})
	upstream := echo(t, "127.0.0.1:0").LocalAddr().String()
	_, _, six := serve(t, UDPConfig{Upstream: upstream}, "[::]:0")
	_, _, four := serve(t, UDPConfig{Upstream: upstream}, "0.0.0.0:0")
	for _, to := range []netip.AddrPort{
		netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), four.Port()), netip.AddrPortFrom(netip.MustParseAddr("198.51.100.9"), four.Port()),
		netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), six.Port()), netip.AddrPortFrom(netip.MustParseAddr("198.51.100.9"), six.Port()),
		netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), six.Port()), netip.AddrPortFrom(netip.MustParseAddr("2001:db8::9"), six.Port()),
	} {
		err := h.Do(func() error {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
			if err != nil {
				return err
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(limit))
			// A connected socket hears only the address that it asked.
			_, err = exchange(c, []byte("x"))
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func BenchmarkUDP(b *testing.B) {
	upstream := echo(b, "127.0.0.1:0").LocalAddr().(*net.UDPAddr).AddrPort()
	_, _, at := serve(b, UDPConfig{Upstream: upstream.String()}, "127.0.0.1:0")
	for name, to := range map[string]netip.AddrPort{"relay": at, "direct": upstream} {
		b.Run("way="+name, func(b *testing.B) {
			c := client(b, "127.0.0.1", to)
			c.SetDeadline(time.Time{})
			payload := make([]byte, 1200)
			for b.Loop() {
				if _, err := exchange(c, payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
