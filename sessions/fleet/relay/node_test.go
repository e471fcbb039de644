package relay

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestRelay: each gateway relays a packet to the coordinator of its source, and to no
// other; the coordinator keeps its own. Sources that are at each gateway another host stay.
func TestRelay(t *testing.T) {
	w := newWorld(t, 3)
	for name := range w.gateways {
		source := w.sourceOfGateway(name, 0)
		for at := range w.gateways {
			if own := w.offer(at, packetOf(source, 20000)); own != (at == name) {
				t.Errorf("%s: coordinates %t a source of %s", at, own, name)
			}
		}
		want := []Packet{packetOf(source, 20000), packetOf(source, 20000)}
		if got := w.received[name]; !slices.Equal(got, want) {
			t.Errorf("%s received %v", name, got)
		}
	}
	for _, text := range []string{"127.0.0.1", "::1", "fe80::1%eth0", "169.254.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255"} {
		for at := range w.gateways {
			if !w.offer(at, packetOf(netip.MustParseAddr(text), 20000)) {
				t.Errorf("%s is relayed", text)
			}
		}
	}
	a := netip.MustParseAddr("2001:db8:1:2:3::4")
	if n := w.node("gw1"); n.coordinator(a) != n.coordinator(netip.MustParseAddr("2001:db8:1:2:ffff::")) {
		t.Error("a /64 has two coordinators")
	}
}

// TestCoordinatorDown: when a gateway is silent, its sources have another coordinator, the
// same one at all others; all other sources keep theirs. When it is back, it has its own
// sources again.
func TestCoordinatorDown(t *testing.T) {
	w := newWorld(t, 3)
	down := w.gateways["gw2"]
	own, other := w.sourceOfGateway("gw2", 0), w.sourceOfGateway("gw1", 0)
	node := w.nodes[down]
	delete(w.nodes, down)
	for range 5 {
		w.pass(Beat)
	}
	next := w.node("gw1").coordinator(own)
	if next == node.own || next != w.node("gw3").coordinator(own) {
		t.Errorf("the coordinator of its source: %d, %d", next, w.node("gw3").coordinator(own))
	}
	if !w.node("gw1").coordinates(other) || w.node("gw3").coordinates(other) {
		t.Error("another source has moved")
	}
	w.start("gw2")
	w.pass(Beat)
	w.pass(Beat)
	for name := range w.gateways {
		if n := w.node(name); n.peers[n.coordinator(own)].name != "gw2" {
			t.Errorf("%s: the source of gw2 has not come back", name)
		}
	}
}

// TestCutBetweenTwo: two gateways that do not hear each other, and a third that both hear:
// all choose the third.
func TestCutBetweenTwo(t *testing.T) {
	w := newWorld(t, 3)
	w.cut = func(from, to string) bool { return from != "gw3" && to != "gw3" }
	for range 6 {
		w.pass(Beat)
	}
	for name := range w.gateways {
		n := w.node(name)
		for i := range 3 {
			for of := range w.gateways {
				if got := n.peers[n.coordinator(w.sourceOfGateway(of, i))].name; got != "gw3" {
					t.Errorf("%s chooses %s", name, got)
				}
			}
		}
	}
}

// TestReplays: a datagram that arrives again, also after a restart of either end, changes
// nothing.
func TestReplays(t *testing.T) {
	w := newWorld(t, 2)
	source := w.sourceOfGateway("gw1", 0)
	replay := func() (taken int) {
		before := len(w.received["gw1"])
		for _, d := range slices.Clone(w.sent) {
			if d.to == w.gateways["gw1"] {
				w.inject(d)
			}
		}
		w.deliver()
		return len(w.received["gw1"]) - before
	}
	for i, restart := range []string{"", "gw1", "gw2", "gw2", "gw1", "gw1"} {
		if restart != "" {
			recorded := slices.Clone(w.sent)
			w.start(restart)
			for _, d := range recorded { // before the new run is known
				w.inject(d)
			}
			w.deliver()
			w.pass(answerPause)
			w.pass(Beat)
		}
		before := len(w.received["gw1"])
		w.offer("gw2", packetOf(source, uint16(20000+i)))
		if got := w.received["gw1"][before:]; !slices.Equal(got, []Packet{packetOf(source, uint16(20000+i))}) {
			t.Fatalf("after a restart of %q: received %v", restart, got)
		}
		if n := replay(); n != 0 {
			t.Errorf("after a restart of %q: %d replayed packets", restart, n)
		}
	}
	if s := w.node("gw1").stats; s.Replayed == 0 || s.Refused == 0 {
		t.Errorf("counts %+v", s)
	}
}

// TestReordered: datagrams of a run may overtake each other.
func TestReordered(t *testing.T) {
	w := newWorld(t, 2)
	source := w.sourceOfGateway("gw1", 0)
	w.cut = func(string, string) bool { return true }
	begin := len(w.sent)
	for i := range 10 {
		w.offer("gw2", packetOf(source, uint16(20000+i)))
	}
	held := slices.Clone(w.sent[begin:])
	slices.Reverse(held)
	for _, d := range held {
		w.inject(d)
	}
	if n := len(w.received["gw1"]); n != 10 {
		t.Errorf("%d of 10 packets", n)
	}
}

// TestForeignDatagrams: a datagram of a stranger, with another key, of another gateway, to
// another gateway or with one changed bit changes nothing, and gets no answer.
func TestForeignDatagrams(t *testing.T) {
	w := newWorld(t, 3)
	source := w.sourceOfGateway("gw1", 0)
	w.cut = func(string, string) bool { return true }
	w.offer("gw2", packetOf(source, 20000))
	d := w.sent[len(w.sent)-1]
	n := w.node("gw1")
	state := func() string {
		peers := slices.Clone(n.peers)
		for i := range peers {
			peers[i].forged = time.Time{} // for the administrator
		}
		return fmt.Sprint(peers, n.run, n.eligible)
	}
	before, refused := state(), n.stats.Refused
	foreign := map[string]sent{
		"from an unknown address":   {netip.MustParseAddrPort("10.0.0.9:1024"), d.to, d.b},
		"from another port":         {netip.AddrPortFrom(d.from.Addr(), 1025), d.to, d.b},
		"from another gateway":      {w.gateways["gw3"], d.to, d.b},
		"empty":                     {d.from, d.to, nil},
		"too long":                  {d.from, d.to, append(bytes.Clone(d.b), make([]byte, MaxDatagram)...)},
		"its own":                   {w.gateways["gw1"], d.to, d.b},
		"without its last byte":     {d.from, d.to, d.b[:len(d.b)-1]},
		"with one byte more":        {d.from, d.to, append(bytes.Clone(d.b), 0)},
		"of a fleet of another key": {d.from, d.to, foreignKey(t, w, source)},
	}
	for i := range d.b {
		b := bytes.Clone(d.b)
		b[i] ^= 1
		foreign[fmt.Sprintf("with another byte %d", i)] = sent{d.from, d.to, b}
	}
	for what, f := range foreign {
		if packets := n.receive(f.from, f.b, w.now); len(packets) > 0 || len(n.outgoing) > 0 {
			t.Errorf("%s: %v, and %d answers", what, packets, len(n.outgoing))
		}
	}
	if to := w.node("gw3"); len(to.receive(d.from, d.b, w.now)) > 0 || len(to.outgoing) > 0 {
		t.Error("accepted at another gateway")
	}
	if after := state(); after != before {
		t.Errorf("the state has changed:\n%s\n%s", before, after)
	}
	if s := n.stats; s.Refused-refused != uint64(len(foreign)) || s.Received != 0 {
		t.Errorf("counts %+v", s)
	}
	if packets := n.receive(d.from, d.b, w.now); len(packets) != 1 {
		t.Error("the datagram itself is not accepted")
	}
}

// foreignKey returns a datagram with a packet, from gw2 to gw1, by another key.
func foreignKey(t *testing.T, w *world, source netip.Addr) []byte {
	t.Helper()
	n := w.node("gw1")
	key := Key{"another key of at least 32 characters"}
	from := IDOf("gw2")
	aead, err := key.datagrams(from, n.peers[n.own].id, w.node("gw2").run)
	if err != nil {
		t.Fatal(err)
	}
	plain := packetOf(source, 20000).append(body{}.append(nil))
	return header{from, w.node("gw2").run, 1000}.seal(nil, aead, plain)
}

// TestBounds: a flood at a gateway takes no more than the rate of the coordinator, from one
// source no more than the limit of a source, and an honest source still gets through while
// another one floods.
func TestBounds(t *testing.T) {
	w := newWorld(t, 2)
	flooding, honest := w.sourceOfGateway("gw1", 0), w.sourceOfGateway("gw1", 1)
	for i := range 5000 {
		w.offer("gw2", packetOf(flooding, uint16(20000+i%1000)))
	}
	if n := len(w.received["gw1"]); n > sourceLimit.Burst {
		t.Errorf("%d packets of one source at once", n)
	}
	before := len(w.received["gw1"])
	for i := range 20 {
		w.offer("gw2", packetOf(honest, uint16(20000+i)))
		w.now = w.now.Add(time.Millisecond)
	}
	if n := len(w.received["gw1"]) - before; n != 20 {
		t.Errorf("%d of 20 packets of another source", n)
	}
	// From any addresses: the rate of 1000 a second, and a tenth of it at once.
	w = newWorldWith(t, 2, 1000)
	before = len(w.received["gw1"])
	for i := range 20_000 {
		w.offer("gw2", packetOf(w.address(i), 20000))
		w.now = w.now.Add(50 * time.Microsecond)
	}
	if n := len(w.received["gw1"]) - before; n < 300 || n > 1200 {
		t.Errorf("%d packets of a flood in a second", n)
	}
	if s := w.node("gw2").stats; s.Limited == 0 {
		t.Errorf("counts %+v", s)
	}
}

func (w *world) address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)})
}

// TestGatewayTakenOver: a gateway that relays more than its rate does not get more from the
// coordinator, and another one is not affected.
func TestGatewayTakenOver(t *testing.T) {
	w := newWorldWith(t, 3, 1000)
	bad := w.node("gw2")
	bad.bounds = newBounds(MaxRate, [8]byte{})
	for i := range 20_000 {
		if a := w.address(i); bad.peers[bad.coordinator(a)].name == "gw1" {
			bad.offer(packetOf(a, 20000), w.now)
			w.deliver()
		}
	}
	if n := len(w.received["gw1"]); n > 600 || n < 400 {
		t.Errorf("%d packets at once", n)
	}
	if w.node("gw1").stats.Limited == 0 {
		t.Error("nothing counted")
	}
	before := len(w.received["gw1"])
	w.offer("gw3", packetOf(w.sourceOfGateway("gw1", 0), 20000))
	if len(w.received["gw1"]) != before+1 {
		t.Error("a packet of another gateway is lost")
	}
}

// TestFull: packets that fill a datagram are sent at once, and none is too long.
func TestFull(t *testing.T) {
	w := newWorld(t, MaxGateways)
	n := w.node("gw2")
	a := netip.MustParseAddr("2001:db8::")
	for n.peers[n.coordinator(a)].name != "gw1" {
		b := a.As16()
		if b[7] == 255 {
			t.Fatal("gw1 coordinates nothing")
		}
		b[7]++
		a = netip.AddrFrom16(b)
	}
	w.arrive = func(_ string, all []Packet) {
		if len(all) < 30 {
			t.Errorf("%d packets in a full datagram", len(all))
		}
	}
	for range 100 {
		n.offer(packetOf(a, 20000), w.now)
	}
	w.deliver()
	if len(w.received["gw1"]) < 60 {
		t.Errorf("%d packets without a pause", len(w.received["gw1"]))
	}
	for _, d := range w.sent {
		if len(d.b) > MaxDatagram {
			t.Fatalf("a datagram of %d bytes", len(d.b))
		}
	}
}
