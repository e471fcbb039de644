package xdp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

func nft(t *testing.T, rules string) {
	t.Helper()
	c := exec.Command("nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

func TestCheckFlows(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	withLookup, without := load1(t, Sizes{}), loadAs(t, Sizes{}, withoutFlows)
	if !withLookup.Tracks() || without.Tracks() {
		t.Fatal("a kernel with the lookup of flows is needed")
	}
	for _, c := range []struct {
		rules string
		want  bool
	}{
		{"", false},
		{"table ip filter { chain input { type filter hook input priority 0; ct state established accept; }; }", false},
		{"table ip nat { chain postrouting { type nat hook postrouting priority srcnat; masquerade; }; }", true},
		{"delete table ip nat", false},
		{"table ip6 n { chain p { type nat hook prerouting priority dstnat; }; }", true},
		{"flush ruleset", false},
	} {
		if c.rules != "" {
			nft(t, c.rules)
		}
		for _, p := range []*Program{withLookup, without} {
			if err := p.CheckFlows(); err != nil {
				t.Fatal(err)
			}
			var state hostState
			if err := p.host.Lookup(uint32(0), &state); err != nil {
				t.Fatal(err)
			}
			got := state.Flows
			want := noPort
			if c.want {
				want = allPort
				if !p.Tracks() {
					want.First = 32768
				}
			}
			if p.LooksUp() != c.want || got != want {
				t.Errorf("after %q: looks up: %v, want %v; ports %v, want %v", c.rules, p.LooksUp(), c.want, got, want)
			}
		}
	}
}

// routed is a network: a host away, this one with the shield, and a host behind it,
// which this one hides by address translation.
type routed struct {
	*rig
	away, behind *netns.Host
}

func newRouted(t *testing.T, mode Mode, choice ...variants) *routed {
	t.Helper()
	here, _, away := pair(t)
	w := &routed{rigOf(t, loadAs(t, Sizes{}, choice...)), away, netns.NewHost(t)}
	netns.Connect(t, netns.End{Name: "inside", Addresses: []string{"198.19.255.1/24"}},
		w.behind, netns.End{Name: "outside", Addresses: []string{"198.19.255.2/24"}})
	if err := w.behind.Do(func() error {
		return exec.Command("ip", "route", "add", "default", "via", "198.19.255.1").Run()
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	nft(t, `table ip nat {
		chain postrouting { type nat hook postrouting priority srcnat; oifname "here" masquerade; }
		chain prerouting { type nat hook prerouting priority dstnat; iifname "here" udp dport 20001 dnat to 198.19.255.2:7; }
	}`)
	mac := [6]byte(here.Attrs().HardwareAddr)
	addresses := []Address{{netip.MustParseAddr("198.18.0.1"), mac}, {netip.MustParseAddr("2001:db8::1"), mac}}
	if err := errors.Join(w.SetAddresses(addresses), w.CheckFlows()); err != nil {
		t.Fatal(err)
	}
	l, err := w.Attach(here.Attrs().Index)
	if err == nil && mode == Generic {
		l.Close()
		l.link, err = attach(w.generic, here.Attrs().Index, link.XDPGenericMode)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	w.settings.Flags.Store(FlagRing | FlagClients)
	return w
}

// live makes ports knock ports.
func (w *routed) live(ports ...uint16) {
	table := prefilter.Table{Maximum: 2, Ports: map[uint16][]schedule.Place{}}
	for _, port := range ports {
		table.Ports[port] = []schedule.Place{{Minute: prefiltertest.Minute, Index: 1}}
	}
	w.setTable(table)
}

// listen opens a socket at a host; nil: this one.
func (w *routed) listen(h *netns.Host, address string) *net.UDPConn {
	w.Helper()
	var c *net.UDPConn
	open := func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		return err
	}
	do := func(f func() error) error { return f() }
	if h != nil {
		do = h.Do
	}
	if err := do(open); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { c.Close() })
	return c
}

func (w *routed) send(c *net.UDPConn, to string) {
	w.Helper()
	w.beat()
	if _, err := c.WriteToUDPAddrPort([]byte("no knock"), netip.MustParseAddrPort(to)); err != nil {
		w.Fatal(err)
	}
}

// arrives waits for a datagram, and returns its source.
func (w *routed) arrives(c *net.UDPConn, what string) netip.AddrPort {
	w.Helper()
	c.SetReadDeadline(netns.Deadline(w))
	_, from, err := c.ReadFromUDPAddrPort(make([]byte, 100))
	if err != nil {
		w.Fatalf("%s: %v", what, err)
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// counted waits until a counter of the program has advanced by one.
func (w *routed) counted(what string, counter int, do func()) {
	w.Helper()
	before := w.counts()[counter]
	do()
	netns.Until(w, what, func() bool { return w.counts()[counter] == before+1 })
}

// TestFlows: datagrams of flows that the kernel tracks pass at live ports, to this host
// and through it; others are refused.
func TestFlows(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newRouted(t, Native, withFlows)
	w.live(20000)
	server, other := w.listen(w.away, "198.18.0.2:53"), w.listen(w.away, "198.18.0.2:54")

	t.Run("reply to a host behind this one", func(t *testing.T) {
		hidden := w.listen(w.behind, "198.19.255.2:20000") // translation keeps the port
		w.send(hidden, "198.18.0.2:53")
		from := w.arrives(server, "the request")
		if from != netip.MustParseAddrPort("198.18.0.1:20000") {
			t.Fatalf("translated to %s", from)
		}
		w.counted("the stranger's is refused", CountSize, func() { w.send(other, from.String()) })
		w.counted("the reply passes", CountFlow, func() { w.send(server, from.String()) })
		w.arrives(hidden, "the reply")
	})
	t.Run("reply to this host", func(t *testing.T) {
		w.live(20002)
		own := w.listen(nil, "198.18.0.1:20002")
		w.send(own, "198.18.0.2:53")
		w.arrives(server, "the request")
		w.counted("the stranger's is refused", CountSize, func() { w.send(other, "198.18.0.1:20002") })
		w.counted("the reply passes", CountFlow, func() { w.send(server, "198.18.0.1:20002") })
		w.arrives(own, "the reply")
	})
	t.Run("led to a host behind this one", func(t *testing.T) {
		echo := w.listen(w.behind, "198.19.255.2:7")
		w.send(server, "198.18.0.1:20001") // not live yet
		w.arrives(echo, "the first")
		w.live(20001)
		w.counted("the flow passes without a reply", CountFlow, func() { w.send(server, "198.18.0.1:20001") })
		w.send(echo, w.arrives(echo, "the second").String())
		w.arrives(server, "the reply")
		w.counted("the flow passes", CountFlow, func() { w.send(server, "198.18.0.1:20001") })
		w.arrives(echo, "the third")
		w.counted("a new flow is refused", CountSize, func() { w.send(other, "198.18.0.1:20001") })
	})
	t.Run("knocks at a socket are no flow", func(t *testing.T) {
		socket := w.listen(nil, "198.18.0.1:20003")
		w.send(server, "198.18.0.1:20003") // the kernel tracks this, without a reply
		w.arrives(socket, "the first")
		w.live(20003)
		w.counted("the next is refused", CountSize, func() { w.send(server, "198.18.0.1:20003") })
	})
}

// TestPortsWithoutLookup: without the lookup, the ports that flows may have go to
// their sockets, and others do not.
func TestPortsWithoutLookup(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newRouted(t, Native, withoutFlows)
	w.live(20000, 40000)
	server := w.listen(w.away, "198.18.0.2:53")
	w.counted("a high port", CountSocket, func() { w.send(server, "198.18.0.1:40000") })
	w.counted("a low port", CountSize, func() { w.send(server, "198.18.0.1:20000") })
	nft(t, "flush ruleset")
	if err := w.CheckFlows(); err != nil {
		t.Fatal(err)
	}
	w.counted("a high port without translation", CountSize, func() { w.send(server, "198.18.0.1:40000") })
}

// TestLive: knocks from a socket come into the ring of a real interface, with their
// partial checksums, and an empty datagram to the socket.
func TestLive(t *testing.T) {
	if netns.EnterPrivileged(t) {
		testLive(t, Native)
	}
}

func TestLiveGeneric(t *testing.T) {
	if netns.EnterPrivileged(t) {
		testLive(t, Generic)
	}
}

func testLive(t *testing.T, mode Mode) {
	w := newRouted(t, mode, withFlows)
	nft(t, "flush ruleset")
	if err := w.CheckFlows(); err != nil {
		t.Fatal(err)
	}
	w.live(20000)
	w.setClients(com1)
	w.settings.Flags.Store(FlagRing | FlagClients | FlagEmpty)
	for here, there := range map[string]string{"198.18.0.1:20000": "198.18.0.2:1000", "[2001:db8::1]:20000": "[2001:db8::2]:1000"} {
		own, from := w.listen(nil, here), w.listen(w.away, there)
		to := netip.MustParseAddrPort(here)
		plain := prefiltertest.Plain(func(k *wire.Knock) { k.Nonce = 77 })
		begin := monotonic(t)
		for _, datagram := range [][]byte{plain, {1, 2, 3}, nil} {
			w.beat()
			if _, err := from.WriteToUDPAddrPort(datagram, to); err != nil {
				t.Fatal(err)
			}
		}
		own.SetReadDeadline(netns.Deadline(t))
		b := make([]byte, 100)
		if n, err := own.Read(b); n != 0 || err != nil {
			t.Errorf("%s: the socket gets %d bytes, %v, want the empty datagram", here, n, err)
		}
		all := w.drain()
		if len(all) != 1 || string(all[0].Datagram[:]) != string(plain) || all[0].Port != 1000 || all[0].To != 20000 {
			t.Fatalf("%s: %d records: %+v", here, len(all), all)
		}
		if at := time.Duration(all[0].Arrival); at < begin || at > monotonic(t) {
			t.Errorf("%s: arrived at %s, sent after %s", here, at, begin)
		}

		// A driver may join datagrams (GRO). Here the sender has not separated them.
		separate(t, from, 48)
		before := w.counts()
		w.beat()
		if _, err := from.WriteToUDPAddrPort(append(plain, plain...), to); err != nil {
			t.Fatal(err)
		}
		if mode == Native {
			netns.Until(t, "two records", func() bool { return w.counts()[CountRing] == before[CountRing]+2 })
			w.drain()
			continue
		}
		for range 2 {
			if n, err := own.Read(b); n != 48 || err != nil {
				t.Errorf("%s: the socket gets %d bytes, %v, want a knock", here, n, err)
			}
		}
		if n := w.counts()[CountSocket] - before[CountSocket]; n != 1 {
			t.Errorf("%s: %d frames passed to the socket, want 1 with both datagrams", here, n)
		}
	}
	if n := w.counts()[CountSize]; n != 2 {
		t.Errorf("%d refused, want 2", n)
	}
}

// separate makes the kernel separate what a socket sends into datagrams of a size.
func separate(t *testing.T, c *net.UDPConn, size int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size)
	})
	if err != nil || controlErr != nil {
		t.Fatal(err, controlErr)
	}
}
