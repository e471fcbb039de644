package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// acceptedFrom accepts the connection of a client.
func (w *network) acceptedFrom(l net.Listener, c net.Conn) *net.TCPConn {
	w.Helper()
	if c == nil {
		w.Fatal("the client does not get in")
	}
	here, err := acceptFrom(l, c)
	w.must(err)
	w.Cleanup(func() { here.Close() })
	return here.(*net.TCPConn)
}

// arrives reports whether what a client sends arrives.
func (w *network) arrives(there net.Conn, here *net.TCPConn) bool {
	w.Helper()
	if _, err := there.Write([]byte("!")); err != nil {
		return false
	}
	w.probe() // each packet sent before it has arrived, or was dropped
	n := pending(w.T, here)
	here.SetReadDeadline(netns.Deadline(w))
	here.Read(make([]byte, n))
	return n > 0
}

// TestDrawnConnections: a redirected connection outlives its lease, and the table,
// unless the port is cut; a new one with the same ports does not begin, even while
// conntrack knows the earlier one.
func TestDrawnConnections(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1")
	l, other := w.drawnService(2000), w.drawnService(2001)
	for _, cut := range []bool{false, true} {
		for i, from := range []netip.Addr{client4, client6} {
			name := fmt.Sprintf("cut %v, %s", cut, from)
			w.nft("flush ruleset\n" + tracking)
			w.forget()
			drawn := 10000 + uint16(i)
			f := w.claim(Config{Ports: []Port{
				{Protocol: TCP, Port: 2000, Drawn: drawnRange, Cut: cut}, {Protocol: TCP, Port: 2001, Drawn: drawnRange, Cut: cut},
			}})
			w.must(f.grantDrawn(0, from, drawn, time.Hour))
			there := w.connect(from, drawn)
			here := w.acceptedFrom(l, there)
			w.must(f.grantDrawn(1, from, 10500, time.Hour))
			otherThere := w.connect(from, 10500)
			if otherHere := w.acceptedFrom(other, otherThere); !w.arrives(otherThere, otherHere) {
				t.Errorf("%s: nothing arrives at the other service", name)
			}
			if here.LocalAddr().(*net.TCPAddr).Port != 2000 || here.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap() != hostOf(from) {
				t.Errorf("%s: the service sees a connection to %s", name, here.LocalAddr())
			}
			if !w.arrives(there, here) {
				t.Errorf("%s: nothing arrives", name)
			}
			// A saved copy of the table, and none at all, are replaced, with the grants.
			w.nft("flush ruleset\n" + tracking)
			r, err := f.Restore()
			w.must(err)
			w.must(r.Err)
			if r.Fault != Removed || r.Cut != 0 || !w.arrives(there, here) {
				t.Errorf("%s: after the table was made again, %+v, the connection is dead", name, r)
			}
			if got := w.outcome(TCP, from, hostOf(from), drawn); got != "open" {
				t.Errorf("%s: the table that was made again lacks the grant: %s", name, got)
			}
			w.must(f.grantDrawn(0, from, drawn, MinTime)) // ends by the kernel alone
			netns.Until(t, "the end of the grant", func() bool { return w.outcome(TCP, from, hostOf(from), drawn) == "closed" })
			if w.arrives(there, here) == cut {
				t.Errorf("%s: after the lease, the connection lives: %v", name, cut)
			}
			// Conntrack still has the connection, and would translate a SYN of its ports.
			source := uint16(there.LocalAddr().(*net.TCPAddr).Port)
			for _, a := range w.probe(segment(from, hostOf(from), source, drawn, flagSYN, nil)) {
				t.Errorf("%s: a SYN with the ports of the earlier connection is answered: %x", name, a)
			}
			if w.outcome(TCP, from, hostOf(from), 2000) != "silent" {
				t.Errorf("%s: the real port is open", name)
			}
			// Another process replaces the table: the connection goes on as before.
			f = w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Drawn: drawnRange, Cut: cut}}})
			if f.Strangers() != 0 || w.arrives(there, here) == cut {
				t.Errorf("%s: %d strangers; after a new table, the connection lives: %v", name, f.Strangers(), cut)
			}
			there.Close()
			here.Close()
		}
	}
}

// TestDrawnForgotten: what conntrack forgets requires a grant again, and whichever end
// sends first, it opens no way to the real port.
func TestDrawnForgotten(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1")
	l := w.drawnService(2000)
	f := w.claim(Config{Ports: []Port{
		{Protocol: TCP, Port: 2000, Drawn: drawnRange}, {Protocol: UDP, Port: 2000, Drawn: drawnRange},
	}})
	for _, place := range []int{0, 1} {
		w.must(f.grantDrawn(place, client4, 10000, time.Hour))
	}
	there := w.connect(client4, 10000)
	here := w.acceptedFrom(l, there)
	w.forget()
	if !w.arrives(there, here) {
		t.Error("with a grant, a forgotten connection does not continue")
	}
	w.must(f.do(drawnChange(0, access.PeerOf(client4, 128), 10000, 0)))
	w.forget()
	here.Write([]byte("?")) // conntrack takes it for a connection of this host
	w.probe()
	source := uint16(there.LocalAddr().(*net.TCPAddr).Port)
	for _, port := range []uint16{2000, 10000} {
		for _, flags := range []byte{flagACK | flagPSH, flagSYN, flagSYN | flagACK} {
			w.probe(segment(client4, host4, source, port, flags, []byte("!")))
		}
	}
	if n := pending(t, here); n != 0 {
		t.Errorf("%d bytes arrive after the lease", n)
	}
	if accepted, _ := w.answersTo(client4, 2000, flagSYN, 7); accepted {
		t.Error("the real port accepts a connection")
	}
	// UDP: neither the service's datagrams nor its answers open its port.
	service, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 2000})
	w.must(err)
	defer service.Close()
	service.WriteToUDPAddrPort([]byte("?"), netip.AddrPortFrom(client4, 40000))
	w.probe(datagram(client4, host4, 40000, 2000, []byte("direct")))
	w.probe(datagram(client4, host4, 40001, 10000, []byte("drawn")))
	b := make([]byte, 100)
	service.SetReadDeadline(netns.Deadline(t))
	n, from, err := service.ReadFromUDPAddrPort(b)
	w.must(err)
	if string(b[:n]) != "drawn" || from.Port() != 40001 {
		t.Errorf("%q arrived from %s", b[:n], from)
	}
}

// TestDrawnTranslated: translation of other programs that leads to the real port opens
// nothing, whatever its priority, and a lease does not change that; nor does a label
// of another service's connection.
func TestDrawnTranslated(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	container := w.router()
	w.answering(nil, 2000)
	w.answering(container, 2000)
	for _, priority := range []string{"-199", "-111", "dstnat", "-50"} {
		for _, cut := range []bool{false, true} {
			w.nft(`flush ruleset
			table inet nat {
				chain prerouting {
					type nat hook prerouting priority ` + priority + `
					fib daddr type local meta l4proto { tcp, udp } th dport { 8080, 8081 } redirect to :2000
					fib daddr type local meta l4proto { tcp, udp } th dport 8090 dnat ip to 172.17.0.2:2000
					fib daddr type local meta l4proto { tcp, udp } th dport 10050 dnat ip to 172.17.0.2:81
				}
			}`)
			w.forget()
			for _, protocol := range []Protocol{TCP, UDP} {
				f := w.claim(Config{Ports: []Port{
					{Protocol: protocol, Port: 2000, Drawn: drawnRange, Cut: cut}, {Protocol: protocol, Port: 8081}, {Protocol: protocol, Port: 8090},
				}})
				w.must(f.do(drawnChange(0, access.PeerOf(client4, 128), 10000, time.Hour), drawnChange(0, access.PeerOf(client4, 128), 10050, time.Hour), change(1, client4, time.Hour), change(2, client4, time.Hour)))
				name := fmt.Sprintf("priority %s, %s, cut %v", priority, protocol, cut)
				for _, port := range []uint16{2000, 8080, 8081} {
					if w.reaches(protocol, client4, host4, port) || w.reaches(protocol, stranger4, host4, port) {
						t.Errorf("%s: port %d leads to the real port", name, port)
					}
				}
				if !w.reached(protocol, client4, host4, 10000) {
					t.Errorf("%s: the drawn port does not lead there", name)
				}
				// Our translation comes before that of programs with the usual priority.
				first := priority == "dstnat" || priority == "-50"
				if first && !w.reached(protocol, client4, host4, 10050) || !first && w.reaches(protocol, client4, host4, 10050) {
					t.Errorf("%s: the order of translations is another one", name)
				}
				// A container's port of the same number is not concerned.
				if !w.reached(protocol, client4, host4, 8090) {
					t.Errorf("%s: the port of a container is closed", name)
				}
				w.must(f.Close())
			}
		}
	}
}

// TestDrawnLocal: on the loopback the real port is open, as that of each service, and
// a drawn port leads there with a lease only. A trusted peer reaches the real port.
func TestDrawnLocal(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.answering(nil, 2000)
	cfg := Config{Ports: []Port{{Protocol: TCP, Port: 2000, Drawn: drawnRange}}}
	cfg.Trusted = map[access.ServiceID]Trusted{serviceOf(0): {Networks: []netip.Prefix{netip.PrefixFrom(stranger4, 32)}}}
	f := w.claim(cfg)
	dial := func(to string) bool {
		c, err := net.DialTimeout("tcp", to, 5*time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	for _, host := range []string{"127.0.0.1", "::1", "198.51.100.1"} {
		to := netip.MustParseAddr(host)
		if !dial(netip.AddrPortFrom(to, 2000).String()) || dial(netip.AddrPortFrom(to, 10000).String()) {
			t.Errorf("%s: the real port is closed, or the drawn one open", host)
		}
		w.must(f.do(drawnChange(0, access.PeerOf(to, 128), 10000, time.Hour)))
		if !dial(netip.AddrPortFrom(to, 10000).String()) || dial(netip.AddrPortFrom(to, 10001).String()) {
			t.Errorf("%s: the drawn port is closed, or another one open", host)
		}
	}
	for from, want := range map[netip.Addr]string{stranger4: "open", client4: "silent"} {
		if got := w.outcome(TCP, from, host4, 2000); got != want {
			t.Errorf("from %s to the real port: %s", from, got)
		}
	}
	if got := w.outcome(TCP, stranger4, host4, 10000); got != "closed" {
		t.Errorf("a trusted peer's packet to a drawn port: %s", got)
	}
}

// TestDrawnDisconnect: connections of one drawn port end, and of all, and the client
// sees a reset from the drawn port. Connections of other leases live on.
func TestDrawnDisconnect(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	l := w.drawnService(2000)
	for _, from := range []netip.Addr{client4, client6} {
		f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Drawn: drawnRange}}})
		peer := access.PeerOf(from, access.PrefixHost)
		at := func(port uint16) access.Change { return drawnChange(0, peer, port, time.Hour) }
		w.must(f.do(at(10000), at(10001), at(10002)))
		var there, here [3]net.Conn
		for i := range there {
			there[i] = w.connect(from, 10000+uint16(i))
			here[i] = w.acceptedFrom(l, there[i])
		}
		connected := func(want ...bool) {
			t.Helper()
			got, err := f.Connected([]access.Change{at(10000), at(10001), at(10002), at(0), at(10003)})
			w.must(err)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("from %s: connected %v, want %v", from, got, want)
			}
		}
		ended := func(i int) {
			t.Helper()
			for _, c := range []net.Conn{there[i], here[i]} {
				c.SetReadDeadline(netns.Deadline(t))
				if _, err := c.Read(make([]byte, 1)); err == nil || err.(net.Error).Timeout() {
					t.Errorf("from %s: connection %d lives on: %v", from, i, err)
				}
			}
		}
		connected(true, true, true, true, false)
		w.must(f.Disconnect([]access.Change{at(10001), at(10003)}))
		ended(1)
		connected(true, false, true, true, false)
		for _, i := range []int{0, 2} {
			if !w.arrives(there[i], here[i].(*net.TCPConn)) {
				t.Errorf("from %s: connection %d is dead", from, i)
			}
		}
		w.must(f.Disconnect([]access.Change{at(0)}))
		ended(0)
		ended(2)
		connected(false, false, false, false, false)
	}
}
