package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// TestFlowsInAll: at the limit, a new client gets no flow, and a client with
// flows displaces one of its flows.
func TestFlowsInAll(t *testing.T) {
	u, _, at := serve(t, UDPConfig{Upstream: Upstream(echo(t, "127.0.0.1:0").LocalAddr().String()), MaxFlows: 3}, "127.0.0.1:0")
	early, later, other := client(t, "127.0.0.2", at), client(t, "127.0.0.2", at), client(t, "127.0.0.3", at)
	for _, c := range []*net.UDPConn{early, later, other} {
		talk(t, "an answer", c)
	}
	if _, err := client(t, "127.0.0.4", at).Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	own := client(t, "127.0.0.2", at)
	talk(t, "an answer to who made room", own)
	if n := u.Flows(); n != 3 || has(u, early) || !has(u, later) || !has(u, other) || !has(u, own) {
		t.Errorf("%d flows: %v", n, u.Peers())
	}
}

// TestFlowsAreBounded: whatever arrives, the bounds hold, and no datagram ends
// a flow of another address.
func TestFlowsAreBounded(t *testing.T) {
	upstream := echo(t, "127.0.0.1:0").LocalAddr().String()
	s, err := newSocket(socketAt(t, "udp", "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		refused := map[netip.Addr]bool{}
		u := newUDP(UDPConfig{
			Upstream: Upstream(upstream), MaxFlows: rapid.IntRange(1, 6).Draw(t, "in all"), PerAddress: rapid.IntRange(1, 3).Draw(t, "per address"),
			Allows: func(a netip.Addr) bool { return !refused[a] },
		})
		defer u.Close()
		anAddress := rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{127, 0, 0, rapid.ByteRange(2, 5).Draw(t, "address")})
		})
		t.Repeat(map[string]func(*rapid.T){
			"datagram": func(t *rapid.T) {
				a := anAddress.Draw(t, "client")
				k := key{socket: s, client: netip.AddrPortFrom(a, rapid.Uint16Range(1000, 1008).Draw(t, "port"))}
				before := others(u, a)
				had := u.flows[k] != nil
				f := u.flowOf(k)
				if others(u, a) != before {
					t.Fatal("another's flow ended")
				}
				if had && f == nil || !had && f != nil && refused[a] {
					t.Fatalf("had a flow %v, refused %v, got %v", had, refused[a], f != nil)
				}
			},
			"refuse": func(t *rapid.T) { a := anAddress.Draw(t, "client"); refused[a] = !refused[a] },
			"cut": func(t *rapid.T) {
				a := anAddress.Draw(t, "client")
				u.Cut(func(b netip.Addr, _ time.Time) bool { return a == b })
				for _, peer := range u.Peers() {
					if peer == a {
						t.Fatal("not cut")
					}
				}
			},
			"": func(t *rapid.T) {
				u.mu.Lock()
				defer u.mu.Unlock()
				all, running := 0, 0
				for a, of := range u.byAddress {
					if len(of.flows) > u.cfg.PerAddress || of.running > 2*u.cfg.PerAddress || of.running == 0 {
						t.Fatalf("%s: %d flows, %d running", a, len(of.flows), of.running)
					}
					all += len(of.flows)
					running += of.running
				}
				if all != len(u.flows) || all != u.Flows() || all > u.cfg.MaxFlows || running != u.running || running > 2*u.cfg.MaxFlows {
					t.Fatalf("%d flows, %d of addresses, %d running of %d", len(u.flows), all, running, u.running)
				}
			},
		})
	})
}

// others returns the number of flows of other addresses.
func others(u *UDP, a netip.Addr) (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for k := range u.flows {
		if k.client.Addr() != a {
			n++
		}
	}
	return n
}

// TestFlowsAreReleased: nothing remains of 2000 flows, idle or cut or without a
// socket.
func TestFlowsAreReleased(t *testing.T) {
	upstream := echo(t, "127.0.0.1:0").LocalAddr().String()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for name, idle := range map[string]time.Duration{"idle": 200 * time.Millisecond, "cut": time.Hour, "closed": time.Hour, "without a socket": time.Hour} {
		t.Run(name, func(t *testing.T) {
			cfg := UDPConfig{Upstream: Upstream(upstream), Idle: idle, PerAddress: 1, Allows: func(netip.Addr) bool { return true }}
			u := newUDP(cfg)
			conn := socketAt(t, "udp", "127.0.0.1:0")
			conn.SetDeadline(time.Time{})
			done := make(chan error, 1)
			go func() { done <- u.Serve(conn) }()
			at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
			for i := range 500 {
				c := client(t, fmt.Sprintf("127.0.%d.%d", 1+i/250, 1+i%250), at)
				talk(t, "an answer", c)
				c.Close()
			}
			switch name {
			case "cut":
				u.Cut(func(netip.Addr, time.Time) bool { return true })
			case "closed":
				u.Close()
			case "without a socket":
				conn.Close()
			}
			netns.Until(t, "their end", func() bool { return u.Flows() == 0 })
			conn.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	netns.Until(t, "no goroutine and no socket left", func() bool { return runtime.NumGoroutine() <= goroutines && openFiles(t) <= files })
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestWaitingIsBounded: datagrams that arrive before the upstream is found are
// sent to it in order, up to the limit.
func TestWaitingIsBounded(t *testing.T) {
	upstream := socketAt(t, "udp", "127.0.0.1:0")
	s, err := newSocket(socketAt(t, "udp", "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 30000} {
		u := newUDP(UDPConfig{Upstream: Upstream(upstream.LocalAddr().String())})
		f := newFlow(u, key{socket: s, client: netip.MustParseAddrPort("127.0.0.2:1")})
		for i := range 2 * maxWaiting {
			f.forward(bytes.Repeat([]byte{byte(i)}, size))
		}
		want := min(maxWaiting, readBuffer/size)
		if len(f.waiting) != want || f.size != want*size {
			t.Fatalf("%d datagrams of %d bytes wait", len(f.waiting), f.size)
		}
		if _, err := f.connect(upstream.LocalAddr().(*net.UDPAddr).AddrPort(), false); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, readBuffer)
		for i := range want {
			if n, _, err := upstream.ReadFromUDPAddrPort(b); err != nil || n != size || b[0] != byte(i) {
				t.Errorf("datagram %d: %d bytes of %d, %v", i, n, b[0], err)
			}
		}
		f.stop()
	}
}

// TestSlowNameServer: a client whose flows wait for a name does not delay
// others, however many ports it uses.
func TestSlowNameServer(t *testing.T) {
	resolve(t, func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	u := newUDP(UDPConfig{Upstream: "upstream.example.:53", PerAddress: 3, Allows: func(netip.Addr) bool { return true }, Log: slog.New(slog.DiscardHandler)})
	defer u.Close()
	s, err := newSocket(socketAt(t, "udp", "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	waits := u.flowOf(key{socket: s, client: netip.MustParseAddrPort("127.0.0.2:1")})
	for port := range uint16(500) {
		if f := u.flowOf(key{socket: s, client: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), port)}); f != nil {
			f.forward([]byte("x"))
		}
		u.mu.Lock()
		if of := u.byAddress[u.cfg.Share(netip.MustParseAddr("127.0.0.3"))]; len(of.flows) > 3 || of.running > 6 {
			t.Errorf("%d flows, %d running", len(of.flows), of.running)
		}
		u.mu.Unlock()
	}
	waits.forward([]byte("x"))
	if waits.mu.Lock(); waits.up != nil || waits.ended || waits.ctx.Err() != nil {
		t.Error("the first did not wait for the name")
	}
	waits.mu.Unlock()
}

// TestSteadyFlowsAllocateNothing covers the relay, and the test's sockets.
func TestSteadyFlowsAllocateNothing(t *testing.T) {
	_, _, at := serve(t, UDPConfig{Upstream: Upstream(echo(t, "127.0.0.1:0").LocalAddr().String())}, "127.0.0.1:0")
	c := client(t, "127.0.0.2", at)
	talk(t, "an answer", c)
	b := make([]byte, 1200)
	var lost error
	if n := testing.AllocsPerRun(500, func() {
		if _, err := c.Write(b); err != nil {
			lost = err
		}
		if _, err := c.Read(b); err != nil {
			lost = errors.Join(lost, err)
		}
	}); n != 0 || lost != nil {
		t.Errorf("%v allocations a datagram there and back, %v", n, lost)
	}
}

// BenchmarkUDP alternates between the relay and its upstream, with a small
// window of datagrams in flight.
func BenchmarkUDP(b *testing.B) {
	upstream := echo(b, "127.0.0.1:0").LocalAddr().(*net.UDPAddr).AddrPort()
	_, _, at := serve(b, UDPConfig{Upstream: Upstream(upstream.String())}, "127.0.0.1:0")
	const window, rounds = 16, 64
	ways := [2]*net.UDPConn{client(b, "127.0.0.1", upstream), client(b, "127.0.0.1", at)}
	talk(b, "an answer", ways[1])
	var spent [2]time.Duration
	payload, got := make([]byte, 1200), make([]byte, 1200)
	for b.Loop() {
		for i, c := range ways {
			c.SetDeadline(netns.Deadline(b))
			start := time.Now()
			for sent := range window * (rounds + 1) {
				if sent < window*rounds {
					if _, err := c.Write(payload); err != nil {
						b.Fatal(err)
					}
				}
				if sent >= window {
					if _, err := c.Read(got); err != nil {
						b.Fatal(err)
					}
				}
			}
			spent[i] += time.Since(start)
		}
	}
	datagrams := float64(b.N) * window * rounds
	b.ReportMetric(datagrams/spent[1].Seconds(), "datagrams/s")
	b.ReportMetric(float64(spent[0])/float64(spent[1]), "relay/direct")
}

// TestSharedAddresses: a client that uses many addresses of its network has the
// flows of one address.
func TestSharedAddresses(t *testing.T) {
	network := func(a netip.Addr) access.Peer {
		p, _ := a.Prefix(24)
		return access.Peer{Prefix: p}
	}
	u, _, at := serve(t, UDPConfig{Upstream: Upstream(echo(t, "127.0.0.1:0").LocalAddr().String()), PerAddress: 2, Share: network}, "127.0.0.1:0")
	for i := range 5 {
		talk(t, "an answer", client(t, fmt.Sprintf("127.0.7.%d", i+1), at))
	}
	if n := u.Flows(); n != 2 {
		t.Errorf("%d flows of a network", n)
	}
	talk(t, "an answer to another network", client(t, "127.0.8.1", at))
	if n, peers := u.Flows(), len(u.Peers()); n != 3 || peers != 3 {
		t.Errorf("%d flows of %d addresses", n, peers)
	}
}
