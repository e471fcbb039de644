package relay

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var testKey = Key{"0123456789abcdef0123456789abcdef"}

// sent is a datagram on the network of a world.
type sent struct {
	from, to netip.AddrPort
	b        []byte
}

// world is gateways on a network that tests control, with a clock.
type world struct {
	testing.TB
	now      time.Time
	gateways map[string]netip.AddrPort
	nodes    map[netip.AddrPort]*node
	sent     []sent                        // all, since the beginning
	cut      func(from, to string) bool    // whether the network drops datagrams
	received map[string][]Packet           // by the gateway that has taken them
	names    map[netip.AddrPort]string     // of gateways
	arrive   func(to string, all []Packet) // may be nil
	rate     int
}

func newWorld(t testing.TB, n int) *world { return newWorldWith(t, n, DefaultRate) }

func newWorldWith(t testing.TB, n, rate int) *world {
	t.Helper()
	w := &world{
		rate: rate,
		TB:   t, now: time.Unix(1_700_000_000, 0), gateways: map[string]netip.AddrPort{}, nodes: map[netip.AddrPort]*node{},
		received: map[string][]Packet{}, names: map[netip.AddrPort]string{}, cut: func(string, string) bool { return false },
	}
	for i := range n {
		name := fmt.Sprintf("gw%d", i+1)
		w.gateways[name] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 1024)
		w.names[w.gateways[name]] = name
	}
	for name := range w.gateways {
		w.start(name)
	}
	w.pass(0)
	w.pass(Beat)
	return w
}

// start starts a gateway, or starts it again.
func (w *world) start(name string) *node {
	w.Helper()
	n, err := newNode(name, w.gateways, testKey, w.rate, rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	w.nodes[w.gateways[name]] = n
	return n
}

func (w *world) node(name string) *node { return w.nodes[w.gateways[name]] }

// pass lets a time pass, after which each gateway beats.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	for _, n := range w.nodes {
		n.beat(w.now)
	}
	w.deliver()
}

// deliver delivers datagrams until none is left.
func (w *world) deliver() {
	for more := true; more; {
		more = false
		for from, n := range w.nodes {
			out := slices.Clone(n.outgoing)
			n.outgoing = n.outgoing[:0]
			for _, o := range out {
				more = true
				d := sent{from, o.to, bytes.Clone(o.b)}
				w.sent = append(w.sent, d)
				if !w.cut(w.names[from], w.names[o.to]) {
					w.inject(d)
				}
			}
		}
	}
}

// inject lets a datagram arrive, as it is.
func (w *world) inject(d sent) {
	if n := w.nodes[d.to]; n != nil {
		name := w.names[d.to]
		packets := slices.Clone(n.receive(d.from, d.b, w.now))
		w.received[name] = append(w.received[name], packets...)
		if w.arrive != nil && len(packets) > 0 {
			w.arrive(name, packets)
		}
	}
}

// offer offers a packet at a gateway, and sends it.
func (w *world) offer(at string, p Packet) (coordinates bool) {
	n := w.node(at)
	coordinates = n.offer(p, w.now)
	n.flush()
	w.deliver()
	return coordinates
}

// sourceOfGateway returns the i-th source of which a gateway is the coordinator, if all are alive.
func (w *world) sourceOfGateway(name string, i int) netip.Addr {
	n := w.node(name)
	all := set(1<<len(n.peers) - 1)
	for a := netip.MustParseAddr("198.51.100.0"); ; a = a.Next() {
		if n.chooser.of(a, all) == n.own {
			if i--; i < 0 {
				return a
			}
		}
	}
}

func packetOf(a netip.Addr, port uint16) Packet {
	return Packet{Source: netip.AddrPortFrom(a, 5000), Port: port}
}
