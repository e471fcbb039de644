package relay

import (
	"net/netip"
	"testing"
	"time"
)

// flood offers packets of strangers at a gateway for so many milliseconds, 20 in each, and
// calls f after these of each.
func (w *world) flood(at string, ms int, f func(i int)) {
	w.Helper()
	for i := range 20 * ms {
		n := w.node(at)
		n.offer(packetOf(w.address(i), 20000), w.now)
		if i%20 == 19 {
			f(i / 20)
			n.flush()
			w.deliver()
			w.now = w.now.Add(time.Millisecond)
		}
	}
}

// got returns how many packets of an address a gateway has taken.
func (w *world) got(at string, a netip.Addr) (n int) {
	for _, p := range w.received[at] {
		if p.Source.Addr() == a {
			n++
		}
	}
	return n
}

// TestReserve: while strangers use up the rate of two gateways, the third one still gets the
// packets of an address from which an exchange was verified there before, from both. Other
// addresses have no part of that; nor have those that announce nothing, and the address
// itself no more than its share.
func TestReserve(t *testing.T) {
	w := newWorldWith(t, 3, 1000)
	known, stranger := w.sourceOfGateway("gw1", 0), w.sourceOfGateway("gw1", 1)
	w.node("gw1").know(known, w.now)
	w.pass(Beat)
	for _, at := range []string{"gw2", "gw3"} {
		before := [2]int{w.got("gw1", known), w.got("gw1", stranger)}
		w.flood(at, 500, func(i int) {
			if i >= 100 && i%10 == 0 {
				w.node(at).offer(packetOf(known, 20001), w.now)
				w.node(at).offer(packetOf(stranger, 20002), w.now)
			}
		})
		of, others := w.got("gw1", known)-before[0], w.got("gw1", stranger)-before[1]
		if of != 40 || others > 4 {
			t.Errorf("%s relays %d of 40 packets of the known address, and %d of a stranger", at, of, others)
		}
	}
	// The receiver keeps the reserve, too, if a gateway sends too much.
	w.node("gw2").bounds = newBounds(MaxRate, [8]byte{})
	before := w.got("gw1", known)
	w.flood("gw2", 500, func(i int) {
		if i >= 100 && i%10 == 0 {
			w.node("gw2").offer(packetOf(known, 20001), w.now)
		}
	})
	if n := w.got("gw1", known) - before; n != 40 {
		t.Errorf("%d of 40 packets are taken from a gateway that sends too much", n)
	}
	w.node("gw2").bounds = newBounds(1000, [8]byte{})
	// With the same flood, and 40 packets of the known address each millisecond: a quarter of
	// the rate at most.
	before = w.got("gw1", known)
	w.flood("gw2", 500, func(int) {
		for range 40 {
			w.node("gw2").offer(packetOf(known, 20001), w.now)
		}
	})
	if n := w.got("gw1", known) - before; n > 600+500*250/1000+250/2 {
		t.Errorf("%d packets of one address", n)
	}
}

// TestReserveIsAnnouncedOnce: an announcement goes to each gateway, not again within a
// minute, also if there are more than a datagram holds; none is too long.
func TestReserveIsAnnouncedOnce(t *testing.T) {
	w := newWorld(t, 3)
	const sources = 3*maxKnown + 1
	has := func(at string) (n int) {
		for i := range sources {
			s := sourceOf(w.address(i))
			for _, k := range w.node(at).reserve.set(s) {
				if k.source == s {
					n++
				}
			}
		}
		return n
	}
	begin := len(w.sent)
	for range 3 {
		for i := range sources {
			w.node("gw1").know(w.address(i), w.now)
		}
		w.deliver()
		w.pass(Beat)
	}
	if a, b := has("gw2"), has("gw3"); a != sources || b != sources {
		t.Errorf("%d and %d of %d are known", a, b, sources)
	}
	bytes := 0
	for _, d := range w.sent[begin:] {
		if bytes += len(d.b); len(d.b) > MaxDatagram {
			t.Errorf("a datagram has %d bytes", len(d.b))
		}
	}
	if most := 2*sources*knownSize + 40*150; bytes > most {
		t.Errorf("%d bytes for %d announcements", bytes, sources)
	}
	w.node("gw1").know(netip.MustParseAddr("127.0.0.1"), w.now)
	w.node("gw1").know(netip.Addr{}, w.now)
	if len(w.node("gw1").peers[0].announce)+len(w.node("gw1").peers[1].announce) > 0 {
		t.Error("an address is announced that means another host elsewhere")
	}
}

// TestReserveForgets: of a full set, the source gives way whose exchange is longest ago.
func TestReserveForgets(t *testing.T) {
	r := newReserve(1000, [8]byte{1})
	now := time.Unix(1000, 0)
	first := sourceOf(netip.MustParseAddr("192.0.2.1"))
	r.add(first, now)
	set := &r.set(first)[0]
	var same []source
	for i := 0; len(same) < reserveWays; i++ {
		s := sourceOf(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}))
		if &r.set(s)[0] == set {
			same = append(same, s)
		}
	}
	for i, s := range same {
		now = now.Add(time.Second)
		if i == reserveWays-1 {
			r.add(first, now) // again, so that another one is the oldest
		}
		r.add(s, now.Add(time.Millisecond))
	}
	if r.take(same[0], now) || !r.take(first, now) || !r.take(same[reserveWays-1], now) {
		t.Error("another source than the oldest gave way")
	}
	if r.take(source{}, now) {
		t.Error("an empty place is a source")
	}
}

// TestReserveOfEach: one source has its share, whatever is left for all.
func TestReserveOfEach(t *testing.T) {
	r := newReserve(MaxRate, [8]byte{})
	now := time.Unix(1000, 0)
	for i := range 3 {
		s := sourceOf(netip.AddrFrom4([4]byte{100, 0, 0, byte(i)}))
		r.add(s, now)
		n := 0
		for r.take(s, now) {
			n++
		}
		if n != sourceLimit.Burst {
			t.Errorf("%d packets of source %d at once", n, i)
		}
	}
}
