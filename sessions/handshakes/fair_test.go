package handshakes

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"sallyport/sessions/handshakes/limit"
	"sallyport/verify/challenge/exchange"
)

// hold is an exchange of an insider, with all packets of the response but the
// last one sent.
type hold struct {
	p     *testClient
	first []uint16
}

func (w *harness) hold(o *exchange.Operation, from string) (h hold) {
	h.p = w.newClient(o, "2001:db8:1::7", from, fixed(5000))
	w.sent = nil
	h.p.send(h.p.requestPorts())
	if len(w.sent) == 0 {
		return h // no room
	}
	response := h.p.responsePorts()
	h.first = response[:1]
	h.p.send(response[:len(response)-1])
	return h
}

// fromNetwork returns the i-th /64, with an address in it.
func fromNetwork(network, address uint32) string {
	b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	binary.BigEndian.PutUint32(b[4:], network)
	binary.BigEndian.PutUint32(b[12:], address)
	return netip.AddrFrom16(b).String()
}

// runExchanges runs n exchanges of honest clients of an operation, each from
// another address, and returns the number of proofs.
func (w *harness) runExchanges(o *exchange.Operation, n int) (proved int) {
	for i := range n {
		w.sent, w.proofs = nil, nil
		from := netip.AddrFrom4([4]byte{203, 0, byte(113 + i/200), byte(1 + i%200)})
		p := w.newClient(o, "10.0.0.7", from.String(), fixed(5000))
		p.send(p.requestPorts())
		if len(w.sent) == 0 {
			continue
		}
		p.send(p.responsePorts())
		proved += len(w.proofs)
		w.now = w.now.Add(10 * time.Millisecond)
	}
	return proved
}

func newFairHarness(t *testing.T, slots int) (w *harness, mine, theirs *exchange.Operation) {
	mine = operation(t, "ssh-insider", exchange.NATAware, false)
	theirs = operation(t, "ssh-honest-", exchange.NATAware, false)
	self := netip.MustParseAddr("2001:db8::1")
	w = newHarness(t, func(c *Config) { c.Slots = slots; c.Public6 = self }, mine, theirs)
	w.public6 = self
	return w, mine, theirs
}

// TestOneNetworkDoesNotFillTheTable: a client with an operation's secret and a /64
// has at most one bucket; and duplicates do not prevent a slot from expiring.
func TestOneNetworkDoesNotFillTheTable(t *testing.T) {
	w, mine, theirs := newFairHarness(t, 64)
	var held []hold
	for i := range uint32(64) {
		held = append(held, w.hold(mine, fromNetwork(1, i)))
	}
	used := map[int]int{}
	for i := range w.slots {
		if s := &w.slots[i]; s.State() == exchange.Challenged && !s.expired(w.now) {
			used[i/w.ways]++
		}
	}
	if len(used) != 1 {
		t.Errorf("a /64 has slots of %d buckets: %v", len(used), used)
	}
	if got := w.runExchanges(theirs, 50); got != 50 {
		t.Errorf("%d of 50 honest clients completed an exchange", got)
	}
	// An hour of one duplicate for each, as often as it takes.
	for range 720 {
		w.now = w.now.Add(5 * time.Second)
		for _, h := range held {
			h.p.send(h.first)
		}
	}
	for i := range w.slots {
		if s := &w.slots[i]; s.State() == exchange.Challenged && !s.expired(w.now) {
			t.Fatalf("slot %d is held by duplicates", i)
		}
	}
}

// TestOneOperationDoesNotFillTheTable: a client with one operation's secret, and
// any number of networks, does not keep the clients of another operation out,
// while it begins new exchanges all the time.
func TestOneOperationDoesNotFillTheTable(t *testing.T) {
	w, mine, theirs := newFairHarness(t, 64)
	network := uint32(0)
	for range 40 {
		for range 200 {
			network++
			w.hold(mine, fromNetwork(network, 1))
		}
		if got := w.runExchanges(theirs, 5); got != 5 {
			t.Errorf("after %d networks %d of 5 honest clients completed an exchange", network, got)
		}
	}
}

// TestAnExchangeHasAnEnd: an exchange ends even if new packets arrive now and then.
func TestAnExchangeHasAnEnd(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	w := newHarness(t, nil, o)
	p := w.newClient(o, "10.0.0.7", victim, fixed(5000))
	p.send(p.requestPorts())
	response := p.responsePorts()
	for _, port := range response {
		p.send([]uint16{port})
		w.now = w.now.Add(responseTime / 2)
	}
	if len(w.proofs) != 0 || w.Stats()[Accepted] > uint64(len(p.requestPorts())+4) {
		t.Errorf("proofs %v, %v", w.proofs, w.Stats())
	}
}

// TestReserve: while strangers use up all challenges, an address from which an
// operation was proved gets one. An attacker that spoofs this address uses up the
// share of this address only.
func TestReserve(t *testing.T) {
	o := operation(t, "ssh-alice", exchange.NATAware, false)
	other := operation(t, "web-alice-", exchange.NATAware, false)
	w := newHarness(t, func(c *Config) { c.Rate = 100; c.Slots = 1 << 14 }, o, other)
	strangers := func(n int) {
		for range n {
			p := w.newClient(o, "10.0.0.7", anyAddress().String(), fixed(4000))
			for _, port := range p.requestPorts() {
				w.Receive(p.source(), netip.AddrPortFrom(server, port), w.now)
			}
		}
	}
	ask := func(o *exchange.Operation, from string) (answered bool) {
		strangers(200) // 20 challenges leave at once
		before := len(w.sent)
		p := w.newClient(o, "10.0.0.7", from, fixed(5000))
		for _, port := range p.requestPorts() {
			w.Receive(p.source(), netip.AddrPortFrom(server, port), w.now)
		}
		if len(w.sent) == before {
			return false
		}
		p.send(p.responsePorts())
		return true
	}
	const another = "198.51.100.77"
	for _, from := range []string{victim, another} {
		p := w.newClient(o, "10.0.0.7", from, fixed(5000))
		p.send(p.requestPorts())
		p.send(p.responsePorts())
	}
	if len(w.proofs) != 2 {
		t.Fatalf("proofs %v", w.proofs)
	}
	if !ask(o, victim) || len(w.proofs) != 3 {
		t.Errorf("no challenge for an address in the reserve: %v", w.Stats())
	}
	if ask(o, attacker) {
		t.Error("a challenge for a stranger")
	}
	if ask(other, victim) {
		t.Error("a challenge for an address that has proved another operation")
	}
	// Requests with the victim's address.
	before := len(w.sent)
	for range 100 {
		p := w.newClient(o, "10.0.0.7", victim, fixed(6000))
		for _, port := range p.requestPorts() {
			w.Receive(p.source(), netip.AddrPortFrom(server, port), w.now)
		}
	}
	if n := len(w.sent) - before; n > limit.PrefixLimit.Burst {
		t.Errorf("%d challenges to one address", n)
	}
	w.now = w.now.Add(time.Second)
	if !ask(o, another) {
		t.Errorf("no challenge for another address in the reserve: %v", w.Stats())
	}
}

// TestReserveIsOfOneOperation: many addresses that prove one operation displace no
// address of another.
func TestReserveIsOfOneOperation(t *testing.T) {
	w, mine, theirs := newFairHarness(t, 1<<12)
	honest := netip.MustParseAddr(victim)
	w.reserve.Add(theirs, honest, w.now)
	for i := range uint32(10_000) {
		w.now = w.now.Add(time.Microsecond)
		w.reserve.Add(mine, netip.MustParseAddr(fromNetwork(i, 1)), w.now)
	}
	if !w.reserve.Take(theirs, honest, w.now) {
		t.Error("the honest client's prefix is no longer in the reserve")
	}
	if last := netip.MustParseAddr(fromNetwork(9999, 77)); !w.reserve.Take(mine, last, w.now) {
		t.Error("another address of the same /64 is not known")
	}
	n := testing.AllocsPerRun(100, func() { w.reserve.Take(theirs, honest, w.now); w.reserve.Add(theirs, honest, w.now) })
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
