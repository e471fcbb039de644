package firewall

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// TestKnocksAreNotTracked floods a knock port from thousands of addresses.
func TestKnocksAreNotTracked(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Stealth: true, Except: []uint16{3002}})
	w.must(f.OpenKnockPorts([]uint16{3001}, time.Hour))
	const flood = 4000
	sink := func(port uint16) (received int) {
		here, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
		w.must(err)
		defer here.Close()
		w.must(here.SetReadBuffer(1 << 20))
		a := netip.MustParseAddr("198.18.0.0")
		for i := range uint16(flood) {
			a = a.Next()
			from, to := a, host4
			if i%2 == 1 {
				from, to = netip.AddrFrom16(append16("2001:db8:9::", a)), host6
			}
			w.sendUntilReceived(here, datagram(from, to, 1000+i, port, knock(i)))
			received++
		}
		return received
	}
	before := w.connections()
	if got := sink(3001); got != flood {
		t.Errorf("%d of %d knocks came", got, flood)
	}
	if after := w.connections(); after > before {
		t.Errorf("%d connections are tracked, and were %d", after, before)
	}
	// Other packets are tracked, otherwise the test would prove nothing.
	sink(3002)
	if after := w.connections(); after < before+flood {
		t.Errorf("%d connections are tracked, and were %d, where all are to be", after, before)
	}
}

// knock returns a payload that looks like a knock.
func knock(i uint16) []byte {
	return fmt.Appendf(make([]byte, 0, wire.Size), "%s%*d", wire.Magic, wire.Size-len(wire.Magic), i)
}

// TestCapturedPacketsAreNotTracked: nor are the answers to them, to any
// destination; other packets of the host are tracked.
func TestCapturedPacketsAreNotTracked(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	// Conntrack keeps a connection only of packets that pass all hooks: to
	// ports with a socket.
	w.claim(Config{Stealth: true, Except: []uint16{3001, 3002, 4000}, Captured: [2]uint16{3000, 3999}})
	for _, port := range []int{3001, 3002, 4000} {
		here, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		w.must(err)
		defer here.Close()
	}
	before := w.connections()
	for i := range uint16(100) {
		w.send(datagram(stranger4, host4, 1000+i, 3001, nil))
		w.send(datagram(stranger6, netip.MustParseAddr("2001:db8:1::1"), 1000+i, 3002, nil))
	}
	w.probe()
	if after := w.connections(); after > before {
		t.Errorf("%d connections are tracked, and were %d", after, before)
	}
	w.send(datagram(stranger4, host4, 2000, 3001, []byte("x")))
	w.send(datagram(stranger4, host4, 2000, 4000, nil))
	w.probe()
	if after := w.connections(); after < before+2 {
		t.Errorf("%d connections are tracked, and were %d, where two more are to be", after, before)
	}
	before = w.connections()
	answer := func(mark int) {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 3500 + mark%7})
		w.must(err)
		defer c.Close()
		raw, err := c.SyscallConn()
		w.must(err)
		w.must(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) }))
		w.must(err)
		_, err = c.WriteToUDPAddrPort([]byte("challenge"), netip.AddrPortFrom(stranger4, 5000))
		w.must(err)
	}
	answer(AnswerMark)
	if after := w.connections(); after > before {
		t.Errorf("an answer is tracked")
	}
	answer(0)
	if after := w.connections(); after != before+1 {
		t.Errorf("what the host sends is not tracked")
	}
}

// sendUntilReceived sends a datagram until a socket receives it: other tests
// also fill the queues of the processor.
func (w *network) sendUntilReceived(c *net.UDPConn, packet []byte) {
	w.Helper()
	b := make([]byte, 100)
	netns.Until(w, fmt.Sprintf("%x is heard", packet), func() bool {
		w.send(packet)
		c.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, err := c.Read(b)
			if err != nil || bytes.Equal(b[:n], transport(packet)[8:]) {
				return err == nil
			}
		}
	})
}

func append16(prefix string, a netip.Addr) (b [16]byte) {
	b = netip.MustParseAddr(prefix).As16()
	copy(b[12:], a.AsSlice())
	return b
}

// TestStealth: knock ports, their neighbours, and ports with a socket are
// equally silent.
func TestStealth(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	// No socket is bound to deaf, as before and after its minute.
	const knock, guarded, bound, except, deaf, first = 3000, 3001, 3002, 3003, 3004, schedule.MinPort
	for _, port := range []int{knock, guarded, bound} {
		here, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		w.must(err)
		defer here.Close()
	}
	cfg := Config{Ports: []Port{{Protocol: UDP, Port: guarded}}, Stealth: true, Except: []uint16{except}}
	f := w.claim(cfg)
	w.must(f.OpenKnockPorts([]uint16{knock, deaf}, time.Hour))
	type path struct{ from, to netip.Addr }
	for _, p := range []path{{stranger4, host4}, {stranger6, netip.MustParseAddr("2001:db8:1::1")}} {
		strange := func(port uint16) [][]byte {
			garbled := datagram(p.from, p.to, 4004, port, make([]byte, 48))
			garbled[len(garbled)-1] ^= 1
			short := datagram(p.from, p.to, 4005, port, make([]byte, 48))
			transport(short)[5]++ // longer than it is
			all := append([][]byte{garbled, short}, fragments(p.from, p.to, datagram(p.from, p.to, 4006, port, make([]byte, 48)), 16)...)
			for _, size := range []int{0, 1, 47, 48, 49, 1400} {
				all = append(all, datagram(p.from, p.to, 4000, port, make([]byte, size)))
			}
			return all
		}
		for _, port := range []uint16{knock, knock - 1, guarded, bound, deaf, first, 65535} {
			if answers := w.probe(strange(port)...); len(answers) > 0 {
				t.Errorf("port %d answers %s: %x", port, p.from, answers)
			}
			if !p.from.Is6() {
				continue
			}
			// Extension headers that the kernel answers, before a datagram like a knock.
			like := transport(datagram(p.from, p.to, 4007, port, append([]byte(wire.Magic), make([]byte, wire.Size-len(wire.Magic))...)))
			for kind, body := range map[byte][]byte{unix.IPPROTO_DSTOPTS: {0, 0xc2, 4, 0, 0, 0, 0}, unix.IPPROTO_ROUTING: {0, 0, 1, 0, 0, 0, 0}} {
				packet := header(p.from, p.to, kind, 0, append(append([]byte{unix.IPPROTO_UDP}, body...), like...))
				if answers := w.probe(packet); len(answers) > 0 {
					t.Errorf("port %d answers an extension header of type %d: %x", port, kind, answers)
				}
			}
		}
		for _, port := range []uint16{except, first - 1} {
			if answers := w.probe(strange(port)...); len(answers) == 0 {
				t.Errorf("port %d, which is left alone, is silent to %s", port, p.from)
			}
		}
	}
	if n := w.connections(); n > 2*2*3 { // to the ports that are left alone
		t.Errorf("%d connections are tracked", n)
	}
	w.must(f.OpenKnockPorts([]uint16{knock + 100}, time.Nanosecond)) // counts as MinTime
	netns.Until(t, "a port ends to take knocks", func() bool {
		batch, err := newBatch()
		w.must(err)
		elements, err := batch.GetSetElements(f.sets.knock)
		w.must(err)
		return len(elements) == 2
	})
	local := func(f func() error) error { return f() }
	w.exchangeUDP(host4, client4, w.outside.Do)
	w.exchangeUDP(host6, client6, w.outside.Do)
	w.exchangeUDP(host4, host4, local)
	w.exchangeUDP(netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"), local)
}

// exchangeUDP sends a request from a socket of this host, at a port that the
// kernel chose, to a socket elsewhere, which answers.
func (w *network) exchangeUDP(here, there netip.Addr, somewhere func(func() error) error) {
	w.Helper()
	var server net.PacketConn
	w.must(somewhere(func() (err error) {
		server, err = net.ListenPacket("udp", netip.AddrPortFrom(there, 5300).String())
		return err
	}))
	defer server.Close()
	c, err := net.ListenPacket("udp", netip.AddrPortFrom(here, 0).String())
	w.must(err)
	defer c.Close()
	_, err = c.WriteTo([]byte("?"), server.LocalAddr())
	w.must(err)
	for _, s := range []net.PacketConn{server, c} {
		w.must(s.SetDeadline(netns.Deadline(w)))
		_, from, err := s.ReadFrom(make([]byte, 10))
		if err != nil {
			w.Errorf("%s asks %s: %v", here, there, err)
			return
		}
		if s == server {
			_, err = s.WriteTo([]byte("!"), from)
			w.must(err)
		}
	}
}
