package firewall

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// tracking is another program's table, because of which the kernel continues to
// track connections while ours is missing.
const tracking = "table inet tracking { chain c { type filter hook prerouting priority 0; ct state new accept; }; }\n"

// gap removes all tables except tracking.
func (w *network) gap(tracked bool) {
	w.Helper()
	script := "flush ruleset\n"
	if tracked {
		script += tracking
	}
	w.nft(script)
}

// TestGap: a stranger connected while the table was missing. Claim and Keep end
// this connection. They keep a connection that a grant let in, even if the
// grant has ended.
func TestGap(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1") // as it is by default
	l, err := net.Listen("tcp", ":2000")
	w.must(err)
	defer l.Close()
	single, several := Config{Ports: []Port{{Protocol: TCP, Port: 2000}}}, Config{Ports: []Port{rangeOf(TCP)}}
	for _, of := range [][2]netip.Addr{{client4, stranger4}, {client6, stranger6}} {
		for _, held := range []bool{true, false} {
			for _, tracked := range []bool{true, false} {
				w.nft("flush ruleset\n" + tracking)
				w.forget()
				cfg := single
				if held == tracked {
					cfg = several
				}
				f := w.claim(cfg)
				w.must(f.grant(0, of[0], time.Hour))
				clientThere := w.connect(of[0], 2000)
				clientHere, err := acceptFrom(l, clientThere)
				w.must(err)
				w.must(f.revoke(0, of[0]))
				w.gap(tracked)
				strangerThere := w.connect(of[1], 2000)
				strangerHere, err := acceptFrom(l, strangerThere)
				w.must(err)
				cut := 0
				if held {
					r, err := f.Restore()
					w.must(err)
					w.must(r.Err)
					cut = r.Cut
				} else {
					f = w.claim(cfg)
					cut = f.Strangers()
				}
				if tracked && cut != 1 || !tracked && cut != 0 {
					t.Errorf("held %v, tracked %v: %d connections are cut", held, tracked, cut)
				}
				for _, first := range []bool{false, true} {
					if first { // this host speaks
						_, err = strangerHere.Write([]byte("?"))
						w.must(err)
					}
					_, err = strangerThere.Write([]byte("!"))
					w.must(err)
					w.probe() // each packet sent before it has arrived, or was dropped
					if n := pending(t, strangerHere.(*net.TCPConn)); n != 0 {
						t.Errorf("held %v, tracked %v: %d bytes of a stranger came in", held, tracked, n)
					}
				}
				_, err = clientThere.Write([]byte("!"))
				w.must(err)
				clientHere.SetReadDeadline(netns.Deadline(t))
				if _, err := clientHere.Read(make([]byte, 1)); err != nil {
					t.Errorf("held %v, tracked %v: the client is cut off: %v", held, tracked, err)
				}
				strangerHere.Close()
				clientHere.Close()
			}
		}
	}
}

// rangeOf returns several ports, among them 2000.
func rangeOf(p Protocol) Port {
	return Port{Protocol: p, Port: 80, More: []At{{Ports: access.Ports{First: 1990, Last: 2010}}}}
}

// TestGapUDP is TestGap for UDP, where this host answers a datagram of the gap
// only after it.
func TestGapUDP(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	here, err := net.ListenUDP("udp", &net.UDPAddr{Port: 2000})
	w.must(err)
	defer here.Close()
	comes := func(from, to netip.Addr, port uint16) bool {
		w.send(datagram(from, to, port, 2000, []byte("?")))
		w.probe() // each packet sent before it has arrived, or was dropped
		raw, err := here.SyscallConn()
		w.must(err)
		w.must(raw.Control(func(fd uintptr) { _, _, err = unix.Recvfrom(int(fd), make([]byte, 10), unix.MSG_DONTWAIT) }))
		return err == nil
	}
	answer := func(to netip.Addr, port uint16) {
		_, err := here.WriteToUDPAddrPort([]byte("!"), netip.AddrPortFrom(to, port))
		w.must(err)
	}
	for _, of := range []struct{ client, stranger, host netip.Addr }{
		{client4, stranger4, host4}, {client6, stranger6, netip.MustParseAddr("2001:db8:1::1")},
	} {
		for i := range 8 {
			cut, tracked, port := i&1 > 0, i&2 > 0, Port{Protocol: UDP, Port: 2000}
			if i&4 > 0 {
				port = rangeOf(UDP)
			}
			port.Cut = cut
			w.nft("flush ruleset\n" + tracking)
			w.forget()
			f := w.claim(Config{Ports: []Port{port}})
			toClient := host4
			if of.client.Is6() {
				toClient = host6
			}
			w.must(f.grant(0, of.client, time.Hour))
			if !comes(of.client, toClient, 4000) {
				t.Fatal("a client cannot get in")
			}
			answer(of.client, 4000)
			w.must(f.revoke(0, of.client))
			if comes(of.client, toClient, 4000) == cut {
				t.Errorf("cut %v: a flow lives on after its lease, or does not", cut)
			}
			w.gap(tracked)
			if !comes(of.stranger, of.host, 4001) || !comes(of.stranger, of.host, 4002) {
				t.Fatal("a stranger cannot get in in the gap, and nothing would be shown")
			}
			answer(of.stranger, 4002)
			r, err := f.Restore()
			w.must(err)
			if tracked && (r.Cut < 2 || cut && r.Cut > 3) {
				t.Errorf("cut %v: %+v", cut, r)
			}
			for range 2 {
				answer(of.stranger, 4001)
				answer(of.stranger, 4002)
				if comes(of.stranger, of.host, 4001) || comes(of.stranger, of.host, 4002) {
					t.Errorf("cut %v, tracked %v: a flow of a stranger lives on", cut, tracked)
				}
			}
			if comes(of.client, toClient, 4000) == cut {
				t.Errorf("cut %v, tracked %v: a flow lives on after the gap, or does not", cut, tracked)
			}
			w.must(f.grant(0, of.stranger, time.Hour))
			if !comes(of.stranger, of.host, 4001) {
				t.Error("who was a stranger is not let in by a grant")
			}
			w.must(f.revoke(0, of.stranger))
		}
	}
}

// TestOutgoing: connections that this host, or a container, begins from a
// guarded port work; a stranger does not get in by their tuples.
func TestOutgoing(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	container := w.router()
	w.nft(`table ip nat { chain postrouting { type nat hook postrouting priority srcnat; ip saddr 172.17.0.0/16 oifname "inner" masquerade; }; }`)
	var outside net.Listener
	w.must(w.outside.Do(func() (err error) {
		outside, err = net.Listen("tcp4", stranger4.String()+":443")
		return err
	}))
	defer outside.Close()
	dial := func(from string) error {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), Deadline: netns.Deadline(t)}
		c, err := d.Dial("tcp", outside.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		there, err := outside.Accept()
		if err != nil {
			return err
		}
		defer there.Close()
		for _, b := range []string{"a", "b"} {
			if _, err := there.Write([]byte(b)); err != nil {
				return err
			}
			c.SetReadDeadline(netns.Deadline(t))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				return err
			}
			if _, err := c.Write([]byte(b)); err != nil {
				return err
			}
		}
		return nil
	}
	inner, err := netlink.LinkByName("inner")
	w.must(err)
	w.must(netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: inner.Attrs().Index, IP: elsewhere4.AsSlice(), HardwareAddr: w.to.Addr[:6], State: netlink.NUD_PERMANENT,
	}))
	port := uint16(40000)
	for _, cut := range []bool{false, true} {
		for _, hook := range []Hook{HookPrerouting, HookForward, HookInput} {
			port++
			several := Port{Protocol: TCP, Port: port, Cut: cut, Hook: hook}
			if cut {
				several.Port, several.Last = port-10, port+10
			}
			w.claim(Config{Ports: []Port{several}})
			if err := dial(netip.AddrPortFrom(host4, port).String()); err != nil {
				t.Errorf("cut %v, hook %d: this host: %v", cut, hook, err)
			}
			w.forget()
			from := netip.AddrPortFrom(netip.MustParseAddr("172.17.0.2"), port).String()
			if err := container.Do(func() error { return dial(from) }); err != nil {
				t.Errorf("cut %v, hook %d: a container: %v", cut, hook, err)
			}
			w.forget()
			// The SYN of this host gets no answer; the remote host must not
			// reach a program that listens at the port afterwards.
			syn := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(host4, port)), Timeout: 50 * time.Millisecond}
			if c, err := syn.Dial("tcp", netip.AddrPortFrom(elsewhere4, 9).String()); err == nil {
				c.Close()
				t.Fatal("what is no host answers")
			}
			if w.connections() == 0 {
				t.Error("the SYN is not tracked, and nothing would be shown")
			}
			w.probe() // the SYN is out
			l, err := net.Listen("tcp", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String())
			w.must(err)
			for _, flags := range []byte{flagSYN, flagSYN | flagPSH, flagACK, flagACK | flagPSH, flagSYN | flagACK} {
				for _, a := range w.probe(segment(elsewhere4, host4, 9, port, flags, nil)) {
					if transport(a)[13]&flagSYN != 0 {
						t.Errorf("cut %v, hook %d: flags %#x by the tuple of a connection of this host: %x", cut, hook, flags, a)
					}
				}
			}
			l.Close()
		}
	}
}
