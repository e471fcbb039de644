package handshakes

import (
	"slices"
	"time"

	"sallyport/verify/challenge/exchange"
)

// anyPort is the source port of slots that take packets from each.
const anyPort = 0

// Times after which a slot counts as free, if nothing new has come to it.
const (
	// requestTime is beyond the pauses of the network, and below those after
	// which clients start over: packets of two attempts are not one request.
	// A scheme's own delay comes on top of it.
	requestTime  = time.Second
	responseTime = 10 * time.Second
	// packetTime is what each packet of a response may take besides, on a line
	// of 9600 bit/s. Whatever comes, an exchange is over responseTime and so
	// much after its challenge.
	packetTime = 50 * time.Millisecond
)

// What an address, and an operation, may have.
const (
	// perPort is how many challenges wait for one source port's response. With
	// one more, the oldest gives way whose response has not begun.
	perPort = 3
	// shareOf is the part of a bucket that the exchanges of one operation keep
	// which prove themselves, when the bucket is full of those: a quarter.
	shareOf = 4
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
		delay := s.Kind().ResponseDelay()
		return now.Sub(s.touched) >= responseTime+delay ||
			now.Sub(s.challenged) >= responseTime+time.Duration(s.Kind().ResponsePackets())*(packetTime+delay)
	}
	return true
}

// answering reports whether a packet of the right response has come.
func (s *slot) answering() bool { return s.State() == exchange.Challenged && s.Known() > 0 }

// touch renews a slot, if a packet was not a duplicate: it had so many before.
func (s *slot) touch(before int, now time.Time) {
	if s.Packets() != before {
		s.touched = now
	}
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
// own, but none that is answering: whoever imitates a client's address could end
// the client's exchange so.
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
			if s != keep && !(s.answering() && s.client == p.source.Addr()) {
				victim = worse(victim, s, p.now)
			}
		}
	}
	if victim == nil {
		return nil
	}
	if !victim.stale(p.now) {
		if victim.rank(p.now) == 2 {
			if victim = beyondShare(p.bucket, keep); victim == nil {
				return nil
			}
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

// beyondShare returns, of a bucket whose exchanges all prove themselves, the
// oldest of an operation that has more than its share; nil: none has. Whoever has
// one operation's secret, and many addresses, keeps no other's clients out.
func beyondShare(bucket []slot, keep *slot) (oldest *slot) {
	for i := range bucket {
		s := &bucket[i]
		if s == keep || s.State() != exchange.Challenged || oldest != nil && !s.challenged.Before(oldest.challenged) {
			continue
		}
		same := 0
		for j := range bucket {
			if o := &bucket[j]; o.State() == exchange.Challenged && o.Requested().Operation() == s.Requested().Operation() {
				same++
			}
		}
		if same > len(bucket)/shareOf {
			oldest = s
		}
	}
	return oldest
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
