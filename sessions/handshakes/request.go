package handshakes

import (
	"errors"

	"sallyport/verify/challenge/exchange"
)

// receiveRequest handles a packet of a request. For each kind of requests, the
// packet is added to the request that its source port has begun. If the source
// port has begun none, the packet begins one; but if another kind has accepted
// the packet, only if it has a part of an ID. With delays or restarts, some packets
// can begin no request; they can continue that of another port.
func (t *Table) receiveRequest(p packet) Outcome {
	outcome := Unmatched
	kinds := t.minutes.Kinds(p.source.Addr())
	for _, k := range kinds {
		if portSlot := t.find(exchange.Requesting, k, p.source.Port()); portSlot != nil {
			outcome = max(outcome, t.continueRequest(portSlot, t.find(exchange.Requesting, k, anyPort), k, p))
			if outcome > Accepted {
				return outcome // the packet belongs to that request, and begins no other one
			}
		}
	}
	accepted := outcome == Accepted
	for _, k := range kinds {
		if t.find(exchange.Requesting, k, p.source.Port()) != nil {
			continue
		}
		t.single.Begin(k)
		switch {
		case !t.single.Request(p.destination.Port(), p.now):
			outcome = max(outcome, t.continueAnyPort(k, p))
		case !accepted || t.single.Known() > 0:
			outcome = max(outcome, t.beginRequest(k, p))
		}
		if outcome > Accepted {
			break
		}
	}
	return outcome
}

// beginRequest begins a request of a source port with a packet, which t.single
// has decoded.
func (t *Table) beginRequest(k *exchange.Kind, p packet) Outcome {
	anySlot := t.find(exchange.Requesting, k, anyPort)
	if anySlot == nil {
		anySlot = t.newAnyPortSlot(k, p)
	}
	portSlot := t.acquire(k, p, p.source.Port(), anySlot)
	if portSlot == nil {
		return NoSlot
	}
	portSlot.CopyFrom(&t.single)
	portSlot.took(p)
	portSlot.noLoss = p.arrival.Elsewhere || t.find(exchange.Challenged, nil, t.waitingPort(p)) != nil
	return t.challengeIfComplete(portSlot, anySlot, k, p)
}

// continueAnyPort adds a packet that cannot begin a request to the request of the
// address that has come from any ports, or else from another port.
func (t *Table) continueAnyPort(k *exchange.Kind, p packet) Outcome {
	s := t.find(exchange.Requesting, k, anyPort)
	if s == nil {
		from := t.latestRequest(k)
		if from == nil {
			return Unmatched
		}
		t.spare.CopyFrom(&from.Responder)
		if !t.spare.Request(p.destination.Port(), p.now) {
			return Unmatched
		}
		if s = t.acquire(k, p, anyPort, nil); s == nil {
			return NoSlot
		}
		s.CopyFrom(&t.spare)
		s.split, s.direct, s.noLoss = from.split, from.direct, p.arrival.Elsewhere
	} else {
		before := s.Packets()
		if !s.Request(p.destination.Port(), p.now) {
			return Unmatched
		}
		s.renew(before, p.now)
	}
	s.took(p)
	if s.State() == exchange.Requested {
		t.dropSiblings(s, k)
		return t.sendChallenge(s, p)
	}
	return Accepted
}

// continueRequest adds a packet to the request that its source port has begun.
// anySlot is the slot for any port, or nil.
func (t *Table) continueRequest(portSlot, anySlot *slot, k *exchange.Kind, p packet) Outcome {
	before := portSlot.Packets()
	if !t.addPacket(portSlot, k, p) {
		return Unmatched
	}
	portSlot.renew(before, p.now)
	return t.challengeIfComplete(portSlot, anySlot, k, p)
}

// challengeIfComplete sends the challenge if the request is complete: first the
// one in portSlot, which now has the packet; else the one in anySlot, to which it
// adds the packet.
func (t *Table) challengeIfComplete(portSlot, anySlot *slot, k *exchange.Kind, p packet) Outcome {
	if portSlot.State() == exchange.Requested {
		t.dropSiblings(portSlot, k)
		return t.sendChallenge(portSlot, p)
	}
	if anySlot == nil {
		return Accepted
	}
	before := anySlot.Packets()
	if !t.addPacket(anySlot, k, p) {
		return Accepted
	}
	anySlot.renew(before, p.now)
	if anySlot.State() == exchange.Requested {
		t.dropSiblings(anySlot, k)
		return t.sendChallenge(anySlot, p)
	}
	return Accepted
}

// dropSiblings resets the slots that have packets of the complete request. Each
// packet counts for at most one challenge; otherwise challenges could have more
// bytes than the packets of their requests. A slot for any port shares packets
// with the slots of all ports, of its kind. Slots of other kinds with one packet are
// reset, too: a packet of the complete request may have begun them, and the next
// request would begin with it (see newAnyPortSlot).
func (t *Table) dropSiblings(complete *slot, k *exchange.Kind) {
	for _, s := range t.bySource {
		if s != complete && s.State() == exchange.Requesting &&
			(s.port == anyPort || s.port == complete.port || complete.port == anyPort && (s.Kind() == k || s.Packets() == 1)) {
			s.Reset()
		}
	}
}

// addPacket adds a packet to the request of a slot. If the packet does not fit
// the packets before it, they are discarded and the packet begins a new request.
// If no request begins with the packet, the slot is reset, and addPacket returns
// false.
func (t *Table) addPacket(s *slot, k *exchange.Kind, p packet) bool {
	if s.Request(p.destination.Port(), p.now) {
		s.took(p)
		return true
	}
	s.Begin(k)
	s.split, s.direct = false, Arrival{}
	if s.Request(p.destination.Port(), p.now) {
		s.took(p)
		return true
	}
	s.Reset()
	return false
}

// newAnyPortSlot makes the slot for any port if the address has sent from another
// port before. It begins with a copy of the latest request of such a port.
func (t *Table) newAnyPortSlot(k *exchange.Kind, p packet) *slot {
	from := t.latestRequest(k)
	if from == nil {
		return nil
	}
	t.spare.CopyFrom(&from.Responder)
	s := t.acquire(k, p, anyPort, nil)
	if s != nil {
		s.CopyFrom(&t.spare)
		s.split, s.direct, s.noLoss = from.split, from.direct, p.arrival.Elsewhere
		s.lastPacket = p.now
	}
	return s
}

// latestRequest returns the slot of the address whose request of a kind received the
// latest packet, or nil.
func (t *Table) latestRequest(k *exchange.Kind) (latest *slot) {
	for _, s := range t.bySource {
		if s.State() == exchange.Requesting && s.Kind() == k && (latest == nil || s.lastPacket.After(latest.lastPacket)) {
			latest = s
		}
	}
	return latest
}

// sendChallenge answers the complete request of a slot.
func (t *Table) sendChallenge(s *slot, p packet) Outcome {
	o := s.Requested().Operation()
	outcome := t.answer(s, p)
	t.traced(o, outcome, p.source.Addr())
	return outcome
}

// answer sends the challenge for the complete request of a slot.
func (t *Table) answer(s *slot, p packet) Outcome {
	relayed := p.arrival.relayed()
	if relayed {
		if !s.direct.Source.IsValid() || t.cfg.AnswerEarlier == nil {
			s.Reset()
			return Elsewhere
		}
		p.source, p.destination = s.direct.Source, s.direct.Destination
	}
	if t.cfg.Allows != nil && !t.cfg.Allows(s.Requested().Operation(), p.source.Addr()) {
		s.Reset()
		return Unmatched
	}
	if o := s.Requested().Operation(); !t.limit.Take(o, p.now) && !t.reserve.Take(o, p.source.Addr(), p.now) {
		s.Reset()
		return RateLimited
	}
	if !t.makeRoomForChallenge(s.port) {
		s.Reset()
		return NoSlot
	}
	nonce, err := t.nonceFor(s, p)
	var port uint16
	if o := s.Requested().Operation(); err == nil && o.RandomPort() && t.cfg.Port != nil {
		port = t.cfg.Port(o)
	}
	payload := t.payload[:0]
	if err == nil {
		payload, err = s.Challenge(payload, p.source.Addr(), t.publicAddress(p.destination.Addr()), nonce, port)
	}
	if err == nil {
		s.server, s.lastPacket, s.challengedAt = p.destination.Addr(), p.now, p.now
		if relayed {
			err = t.cfg.AnswerEarlier(s.direct, payload)
		} else {
			err = t.cfg.Answer(p.source, p.destination, payload)
		}
	}
	if errors.Is(err, exchange.ErrEphemeral) {
		s.Reset()
		return Unmatched
	}
	if err != nil {
		s.Reset()
		return SendFailed
	}
	return Answered
}

// makeRoomForChallenge reports whether a source port may have one more challenge.
// At its limit, the oldest challenge is reset of which no packet of the response
// has arrived; if there is none, it returns false. So a replayed request of a
// client does not end the client's exchange, even before the first packet of the
// response.
func (t *Table) makeRoomForChallenge(port uint16) bool {
	var oldest *slot
	n := 0
	for _, s := range t.bySource {
		if s.State() != exchange.Challenged || s.port != port {
			continue
		}
		n++
		if !s.answering() && (oldest == nil || s.challengedAt.Before(oldest.challengedAt)) {
			oldest = s
		}
	}
	if n < challengesPerPort {
		return true
	}
	if oldest == nil {
		return false
	}
	oldest.Reset()
	return true
}
