package firewall

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// drawnChange is changeOf for a drawn port.
func drawnChange(place int, p access.Peer, port uint16, d time.Duration) access.Change {
	p.Port = port
	return changeOf(place, p, d)
}

func (t *Table) grantDrawn(place int, a netip.Addr, port uint16, d time.Duration) error {
	return t.do(drawnChange(place, access.PeerOf(a, access.PrefixNetwork), port, d))
}

var drawnRange = []access.Ports{{First: 10000, Last: 10999}}

// outcome is how this host answers a packet.
func (w *network) outcome(protocol Protocol, from, to netip.Addr, port uint16) string {
	w.Helper()
	w.source++
	packet := segment(from, to, w.source, port, flagSYN, nil)
	if protocol == UDP {
		packet = datagram(from, to, w.source, port, []byte("?"))
	}
	for _, a := range w.probe(packet) {
		h := transport(a)
		tcp, udp := a[0]>>4 == 4 && a[9] == 6 || a[0]>>4 == 6 && a[6] == 6, a[0]>>4 == 4 && a[9] == 17 || a[0]>>4 == 6 && a[6] == 17
		fromPort, toPort := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
		switch {
		case (tcp || udp) && toPort == w.source && fromPort != port:
			return "answer from another port"
		case udp && toPort == w.source, tcp && toPort == w.source && h[13] == flagSYN|flagACK:
			return "open"
		case tcp && toPort == w.source && h[13]&flagRST != 0:
			return "closed"
		case !tcp && !udp && strings.Contains(string(a), string(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, w.source), port))):
			return "closed"
		}
	}
	return "silent"
}

// expect is outcome; a program may answer UDP late, so it retries where an answer is
// expected.
func (w *network) expect(protocol Protocol, from netip.Addr, port uint16, want string) (got string) {
	w.Helper()
	for end := netns.Deadline(w); end.IsZero() || time.Now().Before(end); {
		if got = w.outcome(protocol, from, hostOf(from), port); got == want || want != "open" || got != "silent" {
			break
		}
	}
	return got
}

// hostOf is the address of this host on the link of an address.
func hostOf(from netip.Addr) netip.Addr {
	switch {
	case from.Is4():
		return host4
	case from == stranger6:
		return netip.MustParseAddr("2001:db8:1::1")
	}
	return host6
}

// TestDrawn: the drawn port of a lease leads its peer to the real port, which stays
// closed to all. To strangers, it is an unused port, as to the peer of another lease.
func TestDrawn(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.answering(nil, 2000)
	w.answering(nil, 2001)
	const drawn, other, unused = 10000, 10001, 10002
	for _, cut := range []bool{false, true} {
		for _, protocol := range []Protocol{TCP, UDP} {
			f := w.claim(Config{Ports: []Port{
				{Protocol: protocol, Port: 2000, Drawn: drawnRange, Cut: cut},
				{Protocol: protocol, Port: 2001, Drawn: drawnRange, Cut: cut, Reject: true},
			}})
			expect := func(when string, from netip.Addr, port uint16, want string) {
				t.Helper()
				if got := w.expect(protocol, from, port, want); got != want {
					t.Errorf("cut %v, %s, %s: from %s to port %d: %s, want %s", cut, protocol, when, from, port, got, want)
				}
			}
			closedToAll := func(when string) {
				t.Helper()
				for _, from := range []netip.Addr{client4, client6, stranger4, stranger6} {
					expect(when, from, 2000, "silent")
					expect(when, from, 2001, "closed")
					expect(when, from, unused, "closed")
				}
			}
			closedToAll("before")
			w.must(f.do(
				drawnChange(0, access.PeerOf(client4, 128), drawn, time.Hour), drawnChange(0, access.PeerOf(client6, 64), drawn, time.Hour),
				drawnChange(0, access.PeerOf(stranger4, 128), other, time.Hour), drawnChange(1, access.PeerOf(client4, 128), other, time.Hour)))
			for _, from := range []netip.Addr{client4, client6} {
				expect("granted", from, drawn, "open")
			}
			expect("granted", client4, other, "open")
			expect("granted", client6, other, "closed")
			expect("granted", stranger4, other, "open")
			expect("granted", stranger4, drawn, "closed")
			expect("granted", stranger6, drawn, "closed")
			closedToAll("granted")
			// Longer, and shorter, and revoked.
			w.must(f.grantDrawn(0, client4, drawn, 2*time.Hour))
			w.must(f.do(drawnChange(0, access.PeerOf(client6, 64), drawn, 0)))
			expect("extended", client4, drawn, "open")
			expect("revoked", client6, drawn, "closed")
			w.must(f.grantDrawn(0, client4, drawn, MinTime))
			netns.Until(t, "the kernel to end a grant", func() bool { return w.outcome(protocol, client4, host4, drawn) == "closed" })
			w.must(f.Close())
			closedToAll("closed")
			for _, port := range []uint16{drawn, other} {
				expect("closed", client4, port, "closed")
				expect("closed", stranger6, port, "closed")
			}
		}
	}
}

// TestDrawnGrants: a grant has a drawn port if, and only if, the port rotates, and
// never one that the table guards.
func TestDrawnGrants(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{
		{Protocol: TCP, Port: 10100, Drawn: drawnRange}, {Protocol: TCP, Port: 10200, Last: 10300}, {Protocol: UDP, Port: 10400}, {Protocol: TCP, Port: 22},
	}})
	for port, ok := range map[uint16]bool{10000: true, 10999: true, 10400: true, 0: false, 9999: false, 11000: false, 10100: false, 10250: false} {
		if err := f.grantDrawn(0, client4, port, time.Hour); (err == nil) != ok {
			t.Errorf("port %d: %v", port, err)
		}
	}
	for name, refused := range map[string]access.Change{
		"at a fixed port": drawnChange(3, access.PeerOf(client4, 128), 10000, time.Hour),
		"for anyone":      drawnChange(0, access.Anyone4, 10000, time.Hour), "for anyone, without a port": changeOf(0, access.Anyone4, time.Hour),
	} {
		if f.do(refused) == nil {
			t.Errorf("a drawn port %s was granted", name)
		}
	}
	granted(t, f, 3)
	// One failed grant does not prevent another.
	errs := f.Apply([]access.Change{
		drawnChange(0, access.PeerOf(stranger4, 128), 10250, time.Hour), drawnChange(0, access.PeerOf(stranger4, 128), 10500, time.Hour),
	})
	if len(errs) != 2 || errs[0] == nil || errs[1] != nil {
		t.Errorf("errors %v", errs)
	}
	granted(t, f, 4)
	// A revocation without a port is of no element.
	w.must(f.revoke(0, client4))
	granted(t, f, 4)
}

func TestDrawnConfig(t *testing.T) {
	for name, p := range map[string]Port{
		"forward": {Protocol: TCP, Port: 1, Hook: HookForward, Drawn: drawnRange}, "input": {Protocol: TCP, Port: 1, Hook: HookInput, Drawn: drawnRange},
		"a range": {Protocol: TCP, Port: 1, Last: 2, Drawn: drawnRange}, "more": {Protocol: TCP, Port: 1, Drawn: drawnRange, More: []At{{Ports: access.Ports{First: 7, Last: 7}}}},
		"ISN": {Protocol: TCP, Port: 1, RequireISN: true, Drawn: drawnRange}, "no port at all": {Protocol: TCP},
		"an empty range": {Protocol: TCP, Port: 1, Drawn: []access.Ports{{First: 2, Last: 1}}}, "port 0": {Protocol: TCP, Port: 1, Drawn: []access.Ports{{}}},
		"overlapping ranges": {Protocol: TCP, Port: 1, Drawn: []access.Ports{{First: 2, Last: 5}, {First: 5, Last: 6}}},
		"listening, cut":     {Protocol: TCP, Cut: true, Drawn: drawnRange}, "listening, jump": {Protocol: TCP, Jump: "operator", Drawn: drawnRange}, "listening, at forward": {Protocol: TCP, Hook: HookForward, Drawn: drawnRange},
		"listening, at a multicast address": {Protocol: TCP, Address: netip.MustParseAddr("224.0.0.1"), Drawn: drawnRange},
	} {
		if (Config{Ports: []Port{p}}).Validate() == nil {
			t.Errorf("%s is valid", name)
		}
	}
	several := Config{Ports: []Port{
		{Service: serviceOf(0), Protocol: TCP, Drawn: drawnRange}, {Service: serviceOf(1), Protocol: TCP, Drawn: drawnRange},
		{Service: serviceOf(2), Protocol: TCP, Port: 22, Drawn: drawnRange}, {Service: serviceOf(3), Protocol: TCP, Port: 23, Drawn: drawnRange},
	}}
	if err := several.Validate(); err != nil {
		t.Error(err)
	}
}

// drawnService serves TCP on the real port, whose connections the test gets.
func (w *network) drawnService(port uint16) net.Listener {
	w.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.IPv6Unspecified(), port).String())
	w.must(err)
	w.Cleanup(func() { l.Close() })
	return l
}
