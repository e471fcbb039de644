package relay

import (
	"crypto/cipher"
	"net/netip"
	"time"
)

// receive returns the packets of a datagram from an address. They are valid until the next
// call. It drops a datagram that is not of a gateway's current run.
//
// A run is current if its sender knew the token of this gateway when it was the newest one.
// The token is drawn again when the run changes. So a datagram of an earlier run, or to an
// earlier run of this gateway, makes no run current: its token is an old one. Within a run
// the counters show replays.
func (n *node) receive(from netip.AddrPort, b []byte, now time.Time) []Packet {
	i, ok := n.byAddr[from]
	h, valid := parseHeader(b)
	if !ok || !valid || h.sender != n.peers[i].id {
		n.stats.Refused++
		return nil
	}
	p := &n.peers[i]
	y, packets, aead, ok := n.open(i, h, b)
	switch {
	case !ok:
		n.stats.Refused++
		p.forged = now
		return nil
	case p.known && h.run == p.run:
		if !p.window.accept(h.counter) {
			n.stats.Replayed++
			return nil
		}
	case y.echo != p.token || !n.become(p, h, aead):
		// A gateway that has started, or a replay. Its token is perhaps the one that it
		// requires; a wrong one delays the next datagram by a beat.
		n.stats.Refused++
		p.echo = y.token
		n.answer(i, now)
		return nil
	default:
		n.answer(i, now) // with the new token
	}
	n.hear(p, y, now)
	var taken int
	for _, packet := range packets {
		if !p.limit.Take(now) && !n.reserve.take(sourceOf(packet.Source.Addr()), now) {
			n.stats.Limited++
			continue
		}
		packets[taken] = packet
		taken++
	}
	n.stats.Received += uint64(taken)
	return packets[:taken]
}

// open decrypts and parses a datagram.
func (n *node) open(i int, h header, b []byte) (y body, packets []Packet, aead cipher.AEAD, ok bool) {
	p := &n.peers[i]
	if aead = p.in; !p.known || h.run != p.run {
		var err error
		if aead, err = n.key.datagrams(p.id, n.peers[n.own].id, h.run); err != nil {
			return y, nil, nil, false
		}
	}
	if n.plain, ok = h.open(n.plain[:0], aead, b); !ok {
		return y, nil, nil, false
	}
	y, packets, err := parseBody(n.plain, n.packets[:0])
	if err != nil {
		return y, nil, nil, false
	}
	n.packets = packets
	return y, packets, aead, true
}

// become makes a run the current one of a gateway.
func (n *node) become(p *peer, h header, aead cipher.AEAD) bool {
	var next token
	if n.draw(next[:]) != nil {
		return false
	}
	if h.counter == 0 {
		return false
	}
	p.run, p.known, p.in, p.window, p.token = h.run, true, aead, windowFrom(h.counter), next
	return true
}

// hear records an authentic datagram of a gateway's current run.
func (n *node) hear(p *peer, y body, now time.Time) {
	p.echo = y.token
	for _, s := range y.known {
		n.reserve.add(s, now)
	}
	var reports set
	for _, id := range y.hears {
		for j := range n.peers {
			if n.peers[j].id == id {
				reports = reports.with(j)
			}
		}
	}
	before := p.heard
	p.heard = now
	if before.IsZero() {
		n.changed = append(n.changed, change{p.name, true})
	}
	if before.IsZero() || reports != p.reports {
		p.reports = reports
		n.view(now)
	}
	if before.IsZero() {
		n.announce(now)
	}
}

// announce sends a datagram to each gateway at once, since this one hears another one: so
// all agree sooner on which of them may coordinate.
func (n *node) announce(now time.Time) {
	if !n.announced.IsZero() && now.Sub(n.announced) < answerPause {
		return // the next beat does
	}
	n.announced = now
	for i := range n.peers {
		if i != n.own {
			n.send(i)
		}
	}
}

// answer sends a datagram at once to a gateway of which a datagram was authentic, and not
// of its known run: to its address in the configuration, and not often.
func (n *node) answer(i int, now time.Time) {
	if p := &n.peers[i]; p.answered.IsZero() || now.Sub(p.answered) >= answerPause {
		p.answered = now
		n.send(i)
	}
}
