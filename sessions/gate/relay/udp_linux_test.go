package relay

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/clock"
)

func socketAt(t testing.TB, network, address string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(netns.Deadline(t))
	return c.(*net.UDPConn)
}

// echo returns every datagram.
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

// gate decides which addresses a relay allows.
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

// newUDP uses the test's clock.
func newUDP(cfg UDPConfig) *UDP {
	cfg.Clock = clock.Clock{Wall: time.Now, Monotonic: time.Now, Boot: time.Now}
	return NewUDP(cfg)
}

func serve(t testing.TB, cfg UDPConfig, address string) (*UDP, *gate, netip.AddrPort) {
	t.Helper()
	g := &gate{refused: map[netip.Addr]bool{}}
	cfg.Allows, cfg.Log = g.allows, cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.PerAddress == 0 {
		cfg.PerAddress = 64
	}
	u := newUDP(cfg)
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

// client returns a socket of an address that sends to the relay.
func client(t testing.TB, from string, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(netns.Deadline(t))
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

// talk is an exchange with retries: flows that end delay others for a moment.
func talk(t testing.TB, what string, c *net.UDPConn) {
	t.Helper()
	netns.Until(t, what, func() bool {
		c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		_, err := exchange(c, []byte("x"))
		return err == nil
	})
	c.SetDeadline(netns.Deadline(t))
}

// has reports whether a client's port has a flow.
func has(u *UDP, c *net.UDPConn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for k := range u.flows {
		if k.client == c.LocalAddr().(*net.UDPAddr).AddrPort() {
			return true
		}
	}
	return false
}

func TestDatagramsAreUnchanged(t *testing.T) {
	upstream := echo(t, "127.0.0.1:0").LocalAddr().String()
	_, _, at := serve(t, UDPConfig{Upstream: Upstream(upstream)}, "127.0.0.1:0")
	c := client(t, "127.0.0.2", at)
	for _, n := range []int{1, 0, 1400, 65507} {
		want := make([]byte, n)
		rand.Read(want)
		if got, err := exchange(c, want); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
}

// TestEarlyDatagrams: datagrams that arrived before Serve belong to the same
// flow as the later ones.
func TestEarlyDatagrams(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		conn := socketAt(t, "udp", address)
		conn.SetDeadline(time.Time{})
		c := client(t, "", conn.LocalAddr().(*net.UDPAddr).AddrPort())
		if _, err := c.Write([]byte("early")); err != nil {
			t.Fatal(err)
		}
		u := newUDP(UDPConfig{Upstream: Upstream(echo(t, "127.0.0.1:0").LocalAddr().String()), Allows: func(netip.Addr) bool { return true }})
		defer u.Close()
		go u.Serve(conn)
		if _, err := c.Read(make([]byte, 5)); err != nil {
			t.Errorf("%s: the early one: %v", address, err)
		}
		if _, err := exchange(c, []byte("later")); err != nil || u.Flows() != 1 {
			t.Errorf("%s: %d flows, %v", address, u.Flows(), err)
		}
	}
}

func TestStrangersBeginNoFlow(t *testing.T) {
	u, g, at := serve(t, UDPConfig{Upstream: Upstream(echo(t, "127.0.0.1:0").LocalAddr().String())}, "127.0.0.1:0")
	g.refuse("127.0.0.9")
	stranger, friend := client(t, "127.0.0.9", at), client(t, "127.0.0.2", at)
	for range 100 {
		stranger.Write([]byte("x"))
	}
	// The relay reads them in order.
	if _, err := exchange(friend, []byte("y")); err != nil {
		t.Fatal(err)
	}
	if n := u.Flows(); n != 1 {
		t.Errorf("%d flows", n)
	}
	stranger.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Errorf("a stranger got %d bytes", n)
	}
}

// TestFlowsOfAnAddress: at its limit, an address displaces its own flows, and
// none of another address.
func TestFlowsOfAnAddress(t *testing.T) {
	u, _, at := serve(t, UDPConfig{Upstream: Upstream(echo(t, "127.0.0.1:0").LocalAddr().String()), PerAddress: 3}, "127.0.0.1:0")
	other := client(t, "127.0.0.3", at)
	if _, err := exchange(other, []byte("x")); err != nil {
		t.Fatal(err)
	}
	var greedy []*net.UDPConn
	for i := range 10 {
		c := client(t, "127.0.0.2", at)
		talk(t, fmt.Sprintf("an answer to flow %d", i), c)
		greedy = append(greedy, c)
	}
	if n := u.Flows(); n != 4 {
		t.Errorf("%d flows, want 3 and 1", n)
	}
	for i, c := range greedy {
		if there := has(u, c); there != (i >= 7) {
			t.Errorf("flow %d is there: %v", i, there)
		}
	}
	if got, err := exchange(other, []byte("still")); err != nil || string(got) != "still" {
		t.Errorf("the other's: %q, %v", got, err)
	}
}

func TestCutFlows(t *testing.T) {
	u, g, at := serve(t, UDPConfig{Upstream: Upstream(echo(t, "127.0.0.1:0").LocalAddr().String())}, "127.0.0.1:0")
	gone, stays := client(t, "127.0.0.2", at), client(t, "127.0.0.3", at)
	for _, c := range []*net.UDPConn{gone, stays} {
		if _, err := exchange(c, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	// The end of a lease does not end flows.
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
		u.Cut(func(a netip.Addr, _ time.Time) bool { return a == netip.MustParseAddr("127.0.0.2") })
		if peers := u.Peers(); len(peers) != 1 || peers[0] != netip.MustParseAddr("127.0.0.3") {
			t.Fatalf("after the cut: %v", peers)
		}
	}
	close(stop)
	busy.Wait()
	talk(t, "an answer to the other, behind what still waits", stays)
}

// TestUpstreamStartsLater: an ICMP error ends no flow.
func TestUpstreamStartsLater(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	address := freeAddress(t)
	u, _, at := serve(t, UDPConfig{Upstream: Upstream(address)}, "127.0.0.1:0")
	c := client(t, "127.0.0.2", at)
	var early *flow
	for range 3 {
		if _, err := c.Write([]byte("too early")); err != nil {
			t.Fatal(err)
		}
		netns.Until(t, "a flow", func() bool { early = singleFlowOf(u); return early != nil })
		time.Sleep(10 * time.Millisecond)
	}
	echo(t, address)
	netns.Until(t, "an answer", func() bool {
		c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		got, err := exchange(c, []byte("now"))
		return err == nil && string(got) == "now"
	})
	if singleFlowOf(u) != early {
		t.Error("another flow's")
	}
}

// TestSendAfterRefusal: an ICMP error for a datagram does not lose the next
// one.
func TestSendAfterRefusal(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	address := freeAddress(t)
	c, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := newSender(c.(*net.UDPConn))
	if err != nil {
		t.Fatal(err)
	}
	s.send([]byte("too early"))
	upstream := socketAt(t, "udp", address)
	s.send([]byte("now"))
	b := make([]byte, 16)
	if n, _, err := upstream.ReadFromUDPAddrPort(b); err != nil || string(b[:n]) != "now" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// freeAddress returns an unused address.
func freeAddress(t testing.TB) string {
	t.Helper()
	c := socketAt(t, "udp", "127.0.0.77:0")
	defer c.Close()
	return c.LocalAddr().String()
}

// singleFlowOf returns the only flow, or nil.
func singleFlowOf(u *UDP) *flow {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range u.flows {
		return f
	}
	return nil
}
