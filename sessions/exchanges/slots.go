package exchanges

import (
	"slices"
	"time"

	"sallyport/verify/challenge/exchange"
)

// anyPort is the source port of slots that take packets from each.
const anyPort = 0

// Times after which a slot counts as free, if nothing has come to it.
const (
	// requestTime is beyond the pauses of the network, and below those after
	// which clients start over: packets of two attempts are not one request.
	// A scheme's own delay comes on top of it.
	requestTime  = time.Second
	responseTime = 10 * time.Second
)

// Bits that chance does not know.
const (
	serious = 16 // of an operation's ID: a client, or who imitates one
	proving = 24 // of a response: who has the secret, and the challenge
)

// youth is how long an exchange may take for the next packet before it counts
// as junk: without it, whoever begins would give way to everybody else.
const youth = 20 * time.Millisecond

// rank is how much a slot deserves to stay. Chance alone begins exchanges, if
// enough packets come; it does not know two bytes of an ID. A request can be
// imitated from any address, since IDs are public; but a response needs the
// challenge, which goes to the address, and the secret. So junk gives way
// before requests and challenges, the oldest of them first, and nothing gives
// way that has begun to prove itself.
func (s *slot) rank(now time.Time) int {
	switch {
	case s.State() == exchange.Challenged && s.Known() >= proving:
		return 2
	case s.State() == exchange.Challenged, s.Known() >= serious, now.Sub(s.touched) < youth+s.Kind().Delay():
		return 1
	}
	return 0
}

// stale reports whether nothing will come to a slot any more.
func (s *slot) stale(now time.Time) bool {
	switch s.State() {
	case exchange.Requesting:
		return now.Sub(s.touched) >= requestTime+s.Kind().Delay()
	case exchange.Challenged:
		return now.Sub(s.touched) >= responseTime+s.Kind().ResponseDelay()
	}
	return true
}

// find returns the slot of the packet's source in a state, of a kind if one is
// given, and a port; nil if there is none.
func (t *Table) find(state exchange.State, k *exchange.Kind, port uint16) *slot {
	for _, s := range t.mine {
		if s.port == port && s.State() == state && (k == nil || s.Kind() == k) {
			return s
		}
	}
	return nil
}

// acquire frees a slot for a packet's source, but not the one to keep; nil if
// none gives way. An address that has its share of a kind gives up one of its
// own.
func (t *Table) acquire(k *exchange.Kind, p packet, port uint16, keep *slot) *slot {
	var victim *slot
	own, ports := (*slot)(nil), 0
	for _, s := range t.mine {
		if s != keep && s.port != anyPort && s.State() == exchange.Requesting && s.Kind() == k {
			ports++
			own = worse(own, s, p.now)
		}
	}
	if port != anyPort && ports >= perKind {
		victim = own
	} else {
		for i := range p.bucket {
			s := &p.bucket[i]
			if s.stale(p.now) {
				victim = s
				break
			}
			if s != keep {
				victim = worse(victim, s, p.now)
			}
		}
	}
	if !victim.stale(p.now) {
		if victim.rank(p.now) == 2 {
			return nil
		}
		t.count(Evicted)
	}
	victim.Reset()
	victim.client, victim.port, victim.touched = p.source.Addr(), port, p.now
	if !slices.Contains(t.mine, victim) {
		t.mine = append(t.mine, victim)
	}
	return victim
}

// worse returns which of two slots gives way first.
func worse(a, b *slot, now time.Time) *slot {
	if a == nil {
		return b
	}
	ra, rb := a.rank(now), b.rank(now)
	if rb < ra || rb == ra && b.touched.Before(a.touched) {
		return b
	}
	return a
}
