package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// The network of these tests: the server is this process, the client a host
// behind a veth pair.
//
//	this namespace                          the client's
//	srv 198.51.100.1, 2001:db8::1  <---->   cli 198.51.100.2, 2001:db8::2
//	    fe80::1                                 198.51.100.3, fe80::2
const (
	server4 = "198.51.100.1"
	server6 = "2001:db8::1"
	web     = "8080"
)

// movedClock is the server's time: the real one, moved.
type movedClock struct {
	mu   sync.Mutex
	base time.Time // the minute in which the test plays
	off  time.Duration
}

func (c *movedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

// SetSecond moves the clock to a second of the test's first minute, or of a
// later one.
func (c *movedClock) SetSecond(s int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base.IsZero() {
		c.base = time.Now().Truncate(time.Minute)
	}
	c.off = time.Until(c.base.Add(time.Duration(s)*time.Second + 100*time.Millisecond))
}

type world struct {
	clock   movedClock
	server  *server
	host    *netns.Host
	capture *recording
	nonces  string
}

// newWorld starts a server with clients com1 to com4 in the test's namespace.
func newWorld(t *testing.T, change func(*config)) *world {
	t.Helper()
	w := &world{host: netns.NewHost(t), nonces: t.TempDir()}
	netns.Connect(t, netns.End{Name: "srv", Addresses: []string{server4 + "/24", server6 + "/64", "fe80::1/64"}},
		w.host, netns.End{Name: "cli", Addresses: []string{"198.51.100.2/24", "198.51.100.3/24", "2001:db8::2/64", "fe80::2/64"}})
	w.clock.SetSecond(20)
	cfg := config{
		ports: 3, portSecret: "the port secret", tolerance: time.Minute, readers: 2, stateDir: t.TempDir(), buffer: 1 << 20,
		services: []serviceConfig{{
			name: "web", kind: "web", listen: "[::]:" + web, prefixLen6: 128, connections: 64,
			terms: gate.Terms{OpenFor: 3 * time.Second, OpenMax: time.Minute, Cut: true, Addresses: 8},
		}},
	}
	for i := range 4 {
		id := fmt.Sprintf("com%d", i+1)
		cfg.clients = append(cfg.clients, registered{identifier: wire.Identifier([]byte(id)), secret: []byte("secret of " + id)})
	}
	if change != nil {
		change(&cfg)
	}
	err := state.Create(cfg.stateDir)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	if w.server, err = newServer(t.Context(), cfg, nil, w.clock.Now, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	w.capture = record(t, w.host, "cli")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.server.run(ctx) }()
	<-w.server.ingest.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) profile(id, server string) client.Profile {
	return client.Profile{
		Server: server, PortSecret: "the port secret", Ports: 3, Service: ":" + web,
		Identifier: wire.Identifier([]byte(id)), Secret: []byte("secret of " + id),
	}
}

// knock lets the client library knock from the client's host, with a clock
// that is off by so much.
func (w *world) knock(ctx context.Context, p client.Profile, off time.Duration) (r client.Result, err error) {
	err = w.host.Do(func() error {
		r, err = client.Knock(ctx, client.Config{
			Profile: p, Nonces: client.NonceFile{Path: filepath.Join(w.nonces, p.Identifier.String())},
			Attempts: 1, Timeout: 10 * time.Second, Now: func() time.Time { return w.clock.Now().Add(off) },
		})
		return err
	})
	return r, err
}

// send sends datagrams from the client's host, from an address of its own.
func (w *world) send(t *testing.T, from, to string, packets []client.Packet) {
	t.Helper()
	err := w.host.Do(func() error {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)})
		if err != nil {
			return err
		}
		defer c.Close()
		for _, p := range packets {
			if _, err := c.WriteToUDPAddrPort(p.Datagram, netip.AddrPortFrom(netip.MustParseAddr(to), p.Port)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sendSequence sends a client's knocks and does not wait for what comes of it.
func (w *world) sendSequence(t *testing.T, id string, base uint32) {
	t.Helper()
	packets, err := client.Sequence(w.profile(id, server4), w.clock.Now(), base)
	if err != nil {
		t.Fatal(err)
	}
	w.send(t, "198.51.100.2", server4, packets)
}

// get fetches a page from the client's host. It does not use http.Client,
// which dials on threads that are not in the host's namespace.
func (w *world) get(server, path string) (status int, err error) {
	err = w.host.Do(func() error {
		c, err := net.Dial("tcp", net.JoinHostPort(server, web))
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			return err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		status = r.StatusCode
		return err
	})
	return status, err
}

func (w *world) opened() uint64 { return w.server.sessions.Stats()[sessions.Opened] }

// listening tells whether the web server listens, without a packet on the
// wire: a second listener would be refused.
func (w *world) listening() bool {
	l, err := net.Listen("tcp", "[::]:"+web)
	if err == nil {
		l.Close()
	}
	return err != nil
}

// moved waits until the server has followed the clock: the ports of a minute
// before and after now are open.
func (w *world) moved(t *testing.T) {
	t.Helper()
	w.until(t, "the ports of the moved clock", func() bool {
		for _, off := range []time.Duration{-50 * time.Second, 50 * time.Second} {
			ports, err := schedule.Ports(schedule.Algorithm1, "the port secret", schedule.MinuteOf(w.clock.Now().Add(off)), 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range ports {
				if c, err := net.ListenPacket("udp", fmt.Sprintf("[::]:%d", p)); err == nil {
					c.Close()
					return false
				}
			}
		}
		return true
	})
}

func (w *world) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if err := wait(t.Context(), what, ok); err != nil {
		t.Fatal(err)
	}
}

func TestKnockOpens(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, nil)
	var link string
	if err := w.host.Do(func() error {
		cli, err := net.InterfaceByName("cli")
		link = fmt.Sprintf("fe80::1%%%d", cli.Index)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for i, server := range []string{server4, server6, link} {
		if w.listening() {
			t.Fatal("it listens before the knock")
		}
		if _, err := w.knock(t.Context(), w.profile("com1", server), 0); err != nil {
			t.Fatalf("%s: %v", server, err)
		}
		for path, want := range map[string]int{"/test1.html": 200, "/test3.html": 200, "/": 404} {
			if got, err := w.get(server, path); got != want {
				t.Errorf("%s%s: %d, %v", server, path, got, err)
			}
		}
		if got := w.opened(); got != uint64(i+1) {
			t.Errorf("opened %d times", got)
		}
		w.until(t, "the end of the lease", func() bool { return !w.listening() })
	}
	w.capture.onlyTheWebServer(t)
}

func TestOnlyTheKnockerGetsIn(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	for _, anyone := range []bool{false, true} {
		t.Run(fmt.Sprintf("anyone=%v", anyone), func(t *testing.T) {
			w := newWorld(t, func(cfg *config) { cfg.services[0].terms.Anyone = anyone; cfg.services[0].terms.OpenFor = time.Minute })
			p := w.profile("com1", server4)
			packets, err := client.Sequence(p, w.clock.Now(), 0)
			if err != nil {
				t.Fatal(err)
			}
			w.send(t, "198.51.100.3", server4, packets) // .2 will connect
			w.until(t, "the opening", w.listening)
			if status, err := w.get(server4, "/test1.html"); (err == nil && status == 200) != anyone {
				t.Errorf("another address: %d, %v", status, err)
			}
		})
	}
}

// TestNothingOpens sends whole sequences with one flaw each. All else is as
// it should be, MAC included. The server sends nothing at all.
func TestNothingOpens(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	// So that each refusal is counted with its reason.
	w := newWorld(t, func(cfg *config) { cfg.unfiltered = true })
	p := w.profile("com1", server4)
	base := uint32(0)
	sequence := func(p client.Profile, off time.Duration) []client.Packet {
		t.Helper()
		packets, err := client.Sequence(p, w.clock.Now().Add(off), base)
		if err != nil {
			t.Fatal(err)
		}
		base += uint32(p.Ports)
		return packets
	}
	ports := func(off time.Duration) []uint16 {
		t.Helper()
		ports, err := schedule.Ports(p.Generator, p.PortSecret, schedule.MinuteOf(w.clock.Now().Add(off)), p.Ports)
		if err != nil {
			t.Fatal(err)
		}
		return ports
	}
	// to redirects a sequence to ports that are open, so that a refusal is
	// ours, not that of a closed port.
	to := func(packets []client.Packet, ports ...uint16) []client.Packet {
		for i := range packets {
			packets[i].Port = ports[i%len(ports)]
		}
		return packets
	}
	now := ports(0)
	otherSecret, otherClient, otherCount := p, p, p
	otherSecret.Secret = []byte("secret of com2")
	otherClient.Identifier = wire.Identifier([]byte("nobo"))
	otherCount.Ports = 4
	resize := func(packets []client.Packet, size int) []client.Packet {
		for i := range packets {
			packets[i].Datagram = append(packets[i].Datagram, make([]byte, 1500)...)[:size]
		}
		return packets
	}
	restamp := func(off time.Duration) []client.Packet {
		packets := make([]client.Packet, 3)
		for i := range packets {
			b, err := wire.Knock{
				Sequence: int8(i), Maximum: 2, Identifier: p.Identifier, Nonce: base + uint32(i),
				Timestamp: uint32(w.clock.Now().Add(off).Unix()),
			}.Sign(p.Secret).AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			packets[i] = client.Packet{Port: now[i], Datagram: b}
		}
		base += 3
		return packets
	}
	good := sequence(p, 0)
	w.send(t, "198.51.100.2", server4, good)
	w.until(t, "the opening", func() bool { return w.opened() == 1 })
	w.until(t, "the end of the lease", func() bool { return !w.listening() })

	type counts struct {
		reasons  [verify.Reasons]uint64
		outcomes [sessions.Outcomes]uint64
	}
	count := func() counts { return counts{w.server.ingest.Stats().Reasons, w.server.sessions.Stats()} }
	for _, row := range []struct {
		name    string
		packets []client.Packet
		reason  verify.Reason // of three datagrams
		outcome sessions.Outcome
	}{
		{"replay", good, verify.Authentic, sessions.Replay},
		{"wrong order", to(sequence(p, 0), now[1], now[2], now[0]), verify.Sequence, 0},
		{"wrong port", to(sequence(p, 0), ports(time.Minute)...), verify.Minute, 0},
		{"wrong secret", sequence(otherSecret, 0), verify.MAC, 0},
		{"unknown identifier", sequence(otherClient, 0), verify.Identifier, 0},
		{"old timestamp", restamp(-61 * time.Second), verify.Minute, 0},
		{"old sequence", to(sequence(p, -2*time.Minute), now...), verify.Minute, 0},
		{"older than the tolerance", sequence(p, -62*time.Second), verify.Clock, 0},
		{"future timestamp", restamp(62 * time.Second), verify.Minute, 0},
		{"newer than the tolerance", sequence(p, 62*time.Second), verify.Clock, 0},
		{"truncated", resize(sequence(p, 0), 47), verify.Size, 0},
		{"empty", resize(sequence(p, 0), 0), verify.Size, 0},
		{"over-long", resize(sequence(p, 0), 49), verify.Size, 0},
		{"longer than a buffer", resize(sequence(p, 0), 1400), verify.Size, 0},
		{"maximum beyond n-1", to(sequence(otherCount, 0)[:3], now...), verify.Maximum, 0},
		{"one missing", sequence(p, 0)[:2], verify.Authentic, sessions.Recorded},
		{"from two addresses", nil, verify.Authentic, sessions.Foreign},
	} {
		t.Run(row.name, func(t *testing.T) {
			sent := w.capture.sent(t)
			want := count()
			want.reasons[row.reason] += uint64(len(row.packets))
			if row.reason == verify.Authentic {
				want.outcomes[row.outcome] += uint64(len(row.packets))
			}
			if row.packets == nil {
				packets := sequence(p, 0)
				w.send(t, "198.51.100.2", server4, packets[:2])
				w.until(t, "the first two", func() bool { return count().outcomes[sessions.Recorded] == want.outcomes[sessions.Recorded]+2 })
				w.send(t, "198.51.100.3", server4, packets[2:])
				want.reasons[verify.Authentic] += 3
				want.outcomes[sessions.Recorded] += 2
				want.outcomes[sessions.Foreign]++
			} else {
				w.send(t, "198.51.100.2", server4, row.packets)
			}
			if err := wait(t.Context(), "the refusal", func() bool { return count() == want }); err != nil {
				t.Errorf("%v\ngot  %v\nwant %v", err, count(), want)
			}
			if w.listening() {
				t.Error("the web server listens")
			}
			if got := w.capture.sent(t); got != sent {
				t.Errorf("the server sent %d packets", got-sent)
			}
		})
	}
	// After all that, the client still gets in.
	w.send(t, "198.51.100.2", server4, sequence(p, 0))
	w.until(t, "the last opening", func() bool { return w.opened() == 2 })
	if sent := w.capture.sent(t); sent != 0 {
		t.Errorf("the server sent %d packets", sent)
	}
}

// TestTurnOfTheMinuteUnderAMovedClock knocks before, during and after the
// turn, with clients that are 50 s slow and fast.
func TestTurnOfTheMinuteUnderAMovedClock(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, nil)
	offs := map[string]time.Duration{"com1": -50 * time.Second, "com2": 0, "com3": 50 * time.Second}
	knockAll := func(when string) {
		t.Helper()
		for id, off := range offs {
			before := w.opened()
			if _, err := w.knock(t.Context(), w.profile(id, server4), off); err != nil || w.opened() != before+1 {
				t.Errorf("%s the turn, off by %v: opened %d times, %v", when, off, w.opened()-before, err)
			}
		}
	}
	w.clock.SetSecond(55)
	minute := schedule.MinuteOf(w.clock.Now())
	w.moved(t)
	knockAll("before")
	// A sequence on its way while the minute turns: its last knock arrives
	// after it.
	w.clock.SetSecond(58)
	w.moved(t)
	packets, err := client.Sequence(w.profile("com4", server4), w.clock.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	w.send(t, "198.51.100.2", server4, packets[:2])
	w.until(t, "the turn", func() bool { return schedule.MinuteOf(w.clock.Now()) != minute })
	before := w.opened()
	w.send(t, "198.51.100.2", server4, packets[2:])
	w.until(t, "the knock under way at the turn", func() bool { return w.opened() == before+1 })
	w.moved(t)
	knockAll("after")
	// Off by more than the tolerance, at a second where the ports are open
	// all the same.
	w.clock.SetSecond(90)
	w.moved(t)
	for _, off := range []time.Duration{-65 * time.Second, 65 * time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		before := w.opened()
		w.until(t, "the end of the leases", func() bool { return !w.listening() })
		if _, err := w.knock(ctx, w.profile("com2", server4), off); !errors.Is(err, context.DeadlineExceeded) || w.opened() != before {
			t.Errorf("off by %v: %v", off, err)
		}
		cancel()
	}
	w.capture.onlyTheWebServer(t)
}

// TestGeneratorsAndLengths goes through both generators and the shortest and
// longest sequences.
func TestGeneratorsAndLengths(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	for _, g := range []schedule.Generator{schedule.Algorithm1, schedule.Java} {
		for _, n := range []int{1, 3, 128} {
			t.Run(fmt.Sprintf("%s/%d", g, n), func(t *testing.T) {
				w := newWorld(t, func(cfg *config) { cfg.ports, cfg.generator = n, g })
				p := w.profile("com1", server6)
				p.Ports, p.Generator = n, g
				if _, err := w.knock(t.Context(), p, 0); err != nil {
					t.Errorf("%v\ningest %+v\nsessions %v", err, w.server.ingest.Stats(), w.server.sessions.Stats())
				}
			})
		}
	}
}
