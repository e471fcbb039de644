package handshakes

import (
	"slices"
	"time"

	"sallyport/verify/challenge/exchange"
)

// anyPort is the port of a slot that accepts packets from any source port.
const anyPort = 0

// Times after which a slot expires if no new packet has arrived.
const (
	// requestTime is longer than the delays of the network, and shorter than the
	// pause after which a client starts over, so that packets of two attempts do
	// not count as one request. The delay of the scheme is added to it.
	requestTime  = time.Second
	responseTime = 10 * time.Second
	// packetTime is the additional time for each packet of a response, on a line
	// of 9600 bit/s. An exchange ends responseTime, and packetTime and the
	// scheme's delay for each packet, after its challenge, even if packets arrive.
	packetTime = 50 * time.Millisecond
)

// Limits of an address, and of an operation.
const (
	// challengesPerPort is the maximum number of challenges that wait for a
	// response of one source port: see makeRoomForChallenge.
	challengesPerPort = 3
	// shareDivisor: when a bucket is full of responses in progress, the exchanges
	// of one operation may keep a quarter of it.
	shareDivisor = 4
)

// Numbers of known bits that random packets rarely reach.
const (
	minRequestBits  = 16 // of an operation's ID: from a client, or an attacker that knows the ID
	minResponseBits = 24 // of a response: from a client that has the secret and the challenge
)

// graceTime is the time after a packet for which every exchange is plausible.
// Without it, an exchange that has just begun would be evicted before all others.
const graceTime = 20 * time.Millisecond

// Priorities of a slot.
const (
	likelyRandom = iota // random packets may have begun it
	plausible           // a request, or a challenge without a response
	proving             // a response in progress
)

// priority returns the priority with which a slot stays in a full bucket. Random
// packets begin exchanges if there are enough of them, but they rarely have two
// bytes of an ID. An attacker can send a request from any address, because IDs are
// public. But a response requires the secret, and the challenge, which goes to the
// address. So likely random exchanges are evicted first, then requests and
// challenges, the oldest of each first. A response in progress is evicted only if
// its operation is beyond its share. A response by a signature is never one in progress:
// its packets prove nothing before the last.
func (s *slot) priority(now time.Time) int {
	switch {
	case s.State() == exchange.Challenged && s.Known() >= minResponseBits:
		return proving
	case s.State() == exchange.Challenged, s.Known() >= minRequestBits,
		now.Sub(s.lastPacket) < graceTime+s.Kind().Delay():
		return plausible
	}
	return likelyRandom
}

// expired reports whether the time for further packets of a slot's exchange is
// over. A slot without an exchange is expired too.
func (s *slot) expired(now time.Time) bool {
	switch s.State() {
	case exchange.Requesting:
		return now.Sub(s.lastPacket) >= requestTime+s.Kind().Delay()
	case exchange.Challenged:
		delay := s.Kind().ResponseDelay()
		return now.Sub(s.lastPacket) >= responseTime+delay ||
			now.Sub(s.challengedAt) >= responseTime+time.Duration(s.Kind().ResponsePackets())*(packetTime+delay)
	}
	return true
}

// answering reports whether a packet of the expected response has arrived; of a
// signature, any packet.
func (s *slot) answering() bool { return s.State() == exchange.Challenged && s.Packets() > 0 }

// renew sets the time of the last packet, unless that packet was a duplicate.
// before is the number of packets before it.
func (s *slot) renew(before int, now time.Time) {
	if s.Packets() != before {
		s.lastPacket = now
	}
}

// find returns a slot of the packet's source address with a state, a port and,
// unless k is nil, a kind. It returns nil if there is none.
func (t *Table) find(state exchange.State, k *exchange.Kind, port uint16) *slot {
	for _, s := range t.bySource {
		if s.port == port && s.State() == state && (k == nil || s.Kind() == k) {
			return s
		}
	}
	return nil
}

// acquire returns a slot for a packet's source: an expired one, or one that it
// evicts. It returns nil if no slot can be evicted. It does not evict keep. If the
// address has slotsPerKind slots of the kind, acquire evicts one of these. Of the
// address's slots it evicts none whose response has begun: otherwise an attacker
// that spoofs a client's address could end the client's exchange.
func (t *Table) acquire(k *exchange.Kind, p packet, port uint16, keep *slot) *slot {
	var victim, sameKind *slot
	ports := 0
	for _, s := range t.bySource {
		if s != keep && s.port != anyPort && s.State() == exchange.Requesting && s.Kind() == k {
			ports++
			sameKind = evictedFirst(sameKind, s, p.now)
		}
	}
	if port != anyPort && ports >= slotsPerKind {
		victim = sameKind
	} else {
		for i := range p.bucket {
			s := &p.bucket[i]
			if s.expired(p.now) {
				victim = s
				break
			}
			if s != keep && !(s.answering() && s.client == p.source.Addr()) {
				victim = evictedFirst(victim, s, p.now)
			}
		}
	}
	if victim == nil {
		return nil
	}
	if victim.expired(p.now) {
		t.retire(victim)
	} else {
		if victim.priority(p.now) == proving {
			if victim = oldestBeyondShare(p.bucket, keep); victim == nil {
				return nil
			}
		}
		t.count(Evicted)
	}
	victim.Reset()
	victim.client, victim.port, victim.lastPacket = p.source.Addr(), port, p.now
	victim.noLoss, victim.doubted = false, false
	victim.split, victim.direct = false, Arrival{}
	if !slices.Contains(t.bySource, victim) {
		t.bySource = append(t.bySource, victim)
	}
	return victim
}

// oldestBeyondShare returns, in a bucket full of responses in progress, the oldest
// exchange of an operation that has more than its share, or nil. So an attacker
// that has the secret of one operation, and many addresses, does not keep the
// clients of other operations out.
func oldestBeyondShare(bucket []slot, keep *slot) (oldest *slot) {
	for i := range bucket {
		s := &bucket[i]
		if s == keep || s.State() != exchange.Challenged ||
			oldest != nil && !s.challengedAt.Before(oldest.challengedAt) {
			continue
		}
		same := 0
		for j := range bucket {
			o := &bucket[j]
			if o.State() == exchange.Challenged && o.Requested().Operation() == s.Requested().Operation() {
				same++
			}
		}
		if same > len(bucket)/shareDivisor {
			oldest = s
		}
	}
	return oldest
}

// evictedFirst returns which of two slots is evicted first. a may be nil.
func evictedFirst(a, b *slot, now time.Time) *slot {
	if a == nil {
		return b
	}
	ra, rb := a.priority(now), b.priority(now)
	if rb < ra || rb == ra && b.lastPacket.Before(a.lastPacket) {
		return b
	}
	return a
}
