package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/udp"
)

// network is this host, which captures, and one outside.
type network struct {
	*testing.T
	*Capture
	outside *netns.Host
	mu      sync.Mutex
	packets []Packet
	stop    func()
}

func (w *network) Take(p []Packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.packets = append(w.packets, p...)
}

func (w *network) received() []Packet {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Packet(nil), w.packets...)
}

func (w *network) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// way is how packets are received.
type way string

const (
	captured way = "captured"
	handed   way = "handed over by a capturer"
	ofTCP    way = "captured SYNs"
	bound    way = "bound"
)

func newNetwork(t *testing.T, how way) *network {
	t.Helper()
	w := &network{T: t, outside: netns.NewHost(t)}
	netns.Connect(t, netns.End{Name: "inner", Addresses: []string{"198.51.100.1/24", "198.51.100.9/24", "2001:db8::1/64"}}, w.outside,
		netns.End{Name: "outer", Addresses: []string{"198.51.100.2/24", "2001:db8::2/64"}})
	for path, value := range map[string]string{"/proc/sys/net/ipv4/icmp_ratemask": "0", "/proc/sys/net/ipv6/icmp/ratemask": "129"} {
		w.must(os.WriteFile(path, []byte(value), 0o600))
	}
	w.open(how)
	return w
}

func (w *network) open(how way) {
	w.Helper()
	cfg := Config{Settings: testSettings, Sockets: how == bound, Sink: w, Log: slog.New(slog.DiscardHandler)}
	cfg.TCP = how == ofTCP
	if how == handed {
		cfg.Capturer = w.startCapturer()
	}
	var err error
	w.Capture, err = Open(cfg)
	w.must(err)
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() { done <- w.Capture.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
	})
	w.Cleanup(w.stop)
}

func (w *network) await(what string, ok func() bool) {
	w.Helper()
	netns.Until(w, what, ok, func() string { return fmt.Sprintf("%+v", w.Stats()) })
}

// send puts a packet on the link, from outside.
func (w *network) send(packet []byte) {
	w.Helper()
	w.must(w.outside.Do(func() error {
		outer, err := net.InterfaceByName("outer")
		if err != nil {
			return err
		}
		var inner net.HardwareAddr
		if out, err := exec.Command("ip", "neigh", "show", "198.51.100.1", "dev", "outer").Output(); err != nil {
			return err
		} else if f := strings.Fields(string(out)); len(f) > 2 {
			if inner, err = net.ParseMAC(f[2]); err != nil {
				return err
			}
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		protocol := uint16(unix.ETH_P_IP)
		if packet[0]>>4 == 6 {
			protocol = unix.ETH_P_IPV6
		}
		to := &unix.SockaddrLinklayer{Ifindex: outer.Index, Protocol: udp.Swap(protocol), Halen: 6}
		copy(to.Addr[:], inner)
		return unix.Sendto(fd, packet, 0, to)
	}))
}

func (w *network) dial(to string) *net.UDPConn {
	w.Helper()
	var c net.Conn
	w.must(w.outside.Do(func() (err error) {
		c, err = net.Dial("udp", to)
		return err
	}))
	w.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

var mark = ip(netip.AddrPortFrom(there4, 7), netip.AddrPortFrom(here4, 20007), nil, 0)

// TestKernelFollowsTheRule sends every sample over a link.
func TestKernelFollowsTheRule(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t, captured)
	w.followsTheRule(samples(), mark)
	w.stop()
	w.open(ofTCP)
	w.followsTheRule(tcpSamples(), tcpSamples()[0].packet)
}

func (w *network) followsTheRule(samples []sample, mark []byte) {
	t := w.T
	for _, s := range samples {
		if len(s.packet) < 20 || s.name == "neither" {
			continue // no link carries it
		}
		before := w.Stats().Received
		w.send(s.packet)
		w.send(mark)
		want := before + 1
		if s.knock {
			want++
		}
		w.await(s.name, func() bool { return w.Stats().Received >= want })
		if got := w.Stats().Received; got != want {
			t.Errorf("%s: received %d, want %d", s.name, got-before, want-before)
		}
	}
	if s := w.Stats(); s.Refused != 0 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

func TestImpossibleSources(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t, captured)
	for i, a := range []string{"127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "198.51.100.9"} {
		w.send(ip(netip.AddrPortFrom(netip.MustParseAddr(a), 5000), netip.AddrPortFrom(here4, 20000), nil, 0))
		w.await(a, func() bool { return w.Stats().Refused == uint64(i+1) })
	}
	// And a packet that a router would forward.
	w.send(ip(netip.AddrPortFrom(there4, 5000), netip.MustParseAddrPort("203.0.113.1:20000"), nil, 0))
	w.await("a packet for another host", func() bool { return w.Stats().Refused == 6 })
	if got := w.received(); len(got) != 0 {
		t.Errorf("received %v", got)
	}
}

// TestPacketsAndAnswers, of all sources, over both families.
func TestPacketsAndAnswers(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, how := range []way{captured, handed, bound} {
		t.Run(string(how), func(t *testing.T) {
			w := newNetwork(t, how)
			for _, to := range []string{"198.51.100.1:20010", "198.51.100.9:20011", "[2001:db8::1]:20012"} {
				c := w.dial(to)
				before := len(w.received())
				_, err := c.Write(nil)
				w.must(err)
				w.await("the packet", func() bool { return len(w.received()) > before })
				p := w.received()[before]
				if p.Source != c.LocalAddr().(*net.UDPAddr).AddrPort() || p.Destination != netip.MustParseAddrPort(to) {
					t.Errorf("received %v, from %s to %s", p, c.LocalAddr(), to)
				}
				// The client's socket is connected: only the destination port can answer.
				payloads := []string{"challenge", "an odd one"}
				if how == handed {
					payloads = payloads[len(to)%2:][:1] // it answers each packet once
				}
				for _, payload := range payloads {
					w.must(w.Answer(p, []byte(payload)))
					w.must(c.SetReadDeadline(netns.Deadline(w)))
					b := make([]byte, 100)
					n, err := c.Read(b)
					if errors.Is(err, unix.ECONNREFUSED) {
						n, err = c.Read(b) // the closed port's own answer to the knock
					}
					if err != nil || string(b[:n]) != payload {
						t.Errorf("%s: %q, %v", to, b[:n], err)
					}
				}
			}
			answers := map[way]uint64{captured: 6, handed: 3, bound: 6}[how]
			if s := w.Stats(); s.Answers != answers || s.Failures != 0 || s.Unsent != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestPortsStayClosed: the kernel answers as for other closed ports; bound ones
// never answer.
func TestPortsStayClosed(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	// refused waits for the kernel's answer, until a time.
	refused := func(w *network, port int, payload []byte, end time.Time) bool {
		c := w.dial(fmt.Sprintf("198.51.100.1:%d", port))
		_, err := c.Write(payload)
		w.must(err)
		w.must(c.SetReadDeadline(end))
		_, err = c.Read(make([]byte, 1))
		return errors.Is(err, unix.ECONNREFUSED)
	}
	w := newNetwork(t, captured)
	for _, payload := range [][]byte{nil, []byte("x")} {
		for _, port := range []int{20000, 20100} {
			if !refused(w, port, payload, netns.Deadline(t)) {
				t.Errorf("captured: port %d is not closed to %q", port, payload)
			}
		}
	}
	w.stop()
	w.open(bound)
	for _, payload := range [][]byte{nil, []byte("x")} {
		if refused(w, 20000, payload, time.Now().Add(300*time.Millisecond)) {
			t.Errorf("bound: port 20000 answers %q", payload)
		}
	}
	w.await("the empty one", func() bool { return w.Stats().Received == 1 })
	w.stop()
	if !refused(w, 20000, nil, netns.Deadline(t)) {
		t.Error("bound after the end")
	}
}

// TestThroughTranslation: an answer passes a NAT that has a mapping for
// one port only.
func TestThroughTranslation(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	w := newNetwork(t, captured)
	inside := netns.NewHost(t)
	w.must(w.outside.Do(func() error {
		_, err := netns.Join(netns.End{Name: "lan", Addresses: []string{"10.0.0.1/24"}}, inside, netns.End{Name: "wan", Addresses: []string{"10.0.0.2/24"}})
		if err != nil {
			return err
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
			return err
		}
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader("table ip nat { chain post { type nat hook postrouting priority 100; ip saddr 10.0.0.0/24 masquerade fully-random; }\n}\n")
		out, err := c.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}))
	var c *net.UDPConn
	w.must(inside.Do(func() error {
		if out, err := exec.Command("ip", "route", "add", "default", "via", "10.0.0.1").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		var err error
		c, err = net.ListenUDP("udp4", nil)
		return err
	}))
	defer c.Close()
	var ports []uint16
	for port := range 5 {
		_, err := c.WriteToUDPAddrPort(nil, netip.AddrPortFrom(here4, uint16(20000+port)))
		w.must(err)
		w.await("the packet", func() bool { return len(w.received()) == port+1 })
		p := w.received()[port]
		if p.Source.Addr() != there4 {
			t.Fatalf("it came from %s", p.Source)
		}
		ports = append(ports, p.Source.Port())
	}
	if ports[0] == ports[1] && ports[1] == ports[2] {
		t.Errorf("the NAT gave the packets the ports %v", ports)
	}
	w.must(w.Answer(w.received()[4], []byte("challenge")))
	w.must(c.SetReadDeadline(netns.Deadline(w)))
	b := make([]byte, 100)
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:n]) != "challenge" || from != netip.AddrPortFrom(here4, 20004) {
		t.Errorf("%q from %s, %v", b[:n], from, err)
	}
}

// TestBoundPortsThatAreTaken: a port that another program has is bound when the
// program ends; the other ports receive meanwhile.
func TestBoundPortsThatAreTaken(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	l, err := net.ListenUDP("udp", &net.UDPAddr{Port: 20050})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := Unavailable(nil, 20000, 20099); n != 1 || !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%d ports are unavailable, %v", n, err)
	}
	w := newNetwork(t, bound)
	got := func(port uint16) func() bool {
		c := w.dial(fmt.Sprintf("198.51.100.1:%d", port))
		return func() bool {
			c.Write(nil) // fails after an ICMP error
			return slices.ContainsFunc(w.received(), func(p Packet) bool { return p.Destination.Port() == port })
		}
	}
	w.await("a packet to another port", got(20051))
	taken := got(20050)
	if taken() {
		t.Error("received a packet of another program's port")
	}
	l.Close()
	w.await("a packet to the port that was taken", taken)
	w.must(w.Answer(Packet{Source: netip.MustParseAddrPort("198.51.100.2:7"), Destination: netip.MustParseAddrPort("198.51.100.1:20050")}, []byte("challenge")))
}

// TestTooManyBoundPorts: nothing retries a range that cannot be bound.
func TestTooManyBoundPorts(t *testing.T) {
	_, err := Open(Config{Settings: Settings{First: 20000, Last: 30000}, Sockets: true, Sink: &network{T: t}, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "at most 4096") {
		t.Errorf("got %v", err)
	}
}

// TestOnlyNetRawIsRequired: capturing requires CAP_NET_RAW and nothing else; without
// it the error names it.
func TestOnlyNetRawIsRequired(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	open := func(keep uint32) error {
		done := make(chan error)
		go func() {
			// The thread ends with the goroutine, since it has lost its capabilities.
			runtime.LockOSThread()
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			data := [2]unix.CapUserData{{Effective: keep, Permitted: keep}}
			if err := unix.Capset(&header, &data[0]); err != nil {
				done <- err
				return
			}
			c, err := Open(Config{Settings: Settings{First: 20000, Last: 20099}, Sink: &network{T: t}, Log: slog.New(slog.DiscardHandler)})
			if err == nil {
				c.Close()
			}
			done <- err
		}()
		return <-done
	}
	if err := open(1 << unix.CAP_NET_RAW); err != nil {
		t.Errorf("with CAP_NET_RAW alone: %v", err)
	}
	err := open(0)
	var hint interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), "CAP_NET_RAW") || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "sockets") {
		t.Errorf("without: %v", err)
	}
}

// TestBurstIsCounted: each packet is received, or dropped and counted.
func TestBurstIsCounted(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t, handed)
	const n = 20_000
	w.must(w.outside.Do(func() error {
		c, err := net.ListenUDP("udp4", nil)
		if err != nil {
			return err
		}
		defer c.Close()
		for i := range n {
			c.WriteToUDPAddrPort(nil, netip.AddrPortFrom(here4, uint16(20000+i%100)))
		}
		return nil
	}))
	w.await("all", func() bool { s := w.Stats(); return s.Received+s.Dropped == n })
	if got := uint64(len(w.received())); got != w.Stats().Received {
		t.Errorf("%d of %d were delivered", got, w.Stats().Received)
	}
}

// discard counts packets, and discards them.
type discard struct{ n int }

func (s *discard) Take(p []Packet) { s.n += len(p) }

func TestNothingIsAllocated(t *testing.T) {
	c := &packetSource{rule: inTest, counts: new(counts), local: localAddrs{}, cfg: Config{Sink: new(discard)}}
	all := []netip.Addr{here4, here6}
	c.local.all.Store(&all)
	b := newBatch()
	for i := range udp.BatchSize {
		from, to := there4, here4
		if i%2 == 1 {
			from, to = there6, here6
		}
		p := ip(netip.AddrPortFrom(from, 5000), netip.AddrPortFrom(to, 20000), nil, 0)
		b.sizes[i] = copy(b.data[i][:], p)
	}
	if n := testing.AllocsPerRun(100, func() { c.deliver(b, udp.BatchSize) }); n != 0 {
		t.Errorf("%v for a batch", n)
	}
	if got := c.cfg.Sink.(*discard).n; got != 101*udp.BatchSize {
		t.Errorf("%d delivered", got)
	}
}

func BenchmarkDeliver(b *testing.B) {
	c := &packetSource{rule: inTest, counts: new(counts), local: localAddrs{}, cfg: Config{Sink: new(discard)}}
	all := []netip.Addr{here4}
	c.local.all.Store(&all)
	batch := newBatch()
	p := ip(netip.AddrPortFrom(there4, 5000), netip.AddrPortFrom(here4, 20000), nil, 0)
	for i := range udp.BatchSize {
		batch.sizes[i] = copy(batch.data[i][:], p)
	}
	for b.Loop() {
		c.deliver(batch, udp.BatchSize)
	}
	b.ReportMetric(float64(b.N)*udp.BatchSize/b.Elapsed().Seconds(), "pkts/s")
}
