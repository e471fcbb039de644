package handshakes

import (
	"sallyport/verify/challenge/exchange"
)

// request takes a packet of a request. It goes to what its source has begun, of
// each kind of requests. If that does not take it, it begins something, of each
// kind for which it can be; else only where it says a part of an ID.
func (t *Table) request(p packet) Outcome {
	outcome := Unmatched
	kinds := t.operations.Kinds(p.source.Addr())
	for _, k := range kinds {
		if own := t.find(exchange.Requesting, k, p.source.Port()); own != nil {
			outcome = max(outcome, t.next(own, t.find(exchange.Requesting, k, anyPort), k, p))
		}
	}
	if outcome > Accepted {
		return outcome
	}
	taken := outcome == Accepted
	for _, k := range kinds {
		if t.find(exchange.Requesting, k, p.source.Port()) != nil {
			continue
		}
		t.scratch.Begin(k)
		if !t.scratch.Request(p.destination.Port(), p.now) || taken && t.scratch.Known() == 0 {
			continue
		}
		outcome = max(outcome, t.begin(k, p))
	}
	return outcome
}

// begin takes a packet of a source port that has begun nothing yet: scratch
// has it.
func (t *Table) begin(k *exchange.Kind, p packet) Outcome {
	shared := t.find(exchange.Requesting, k, anyPort)
	if shared == nil {
		shared = t.share(k, p)
	}
	own := t.acquire(k, p, p.source.Port(), shared)
	if own == nil {
		return NoSlot
	}
	own.CopyFrom(&t.scratch)
	return t.settle(own, shared, k, p)
}

// next takes a packet of a source port that has begun something.
func (t *Table) next(own, shared *slot, k *exchange.Kind, p packet) Outcome {
	before := own.Packets()
	if !t.feed(own, k, p) {
		return Unmatched
	}
	own.touch(before, p.now)
	return t.settle(own, shared, k, p)
}

// settle answers whichever has all packets first: what its own source port has
// sent, or any.
func (t *Table) settle(own, shared *slot, k *exchange.Kind, p packet) Outcome {
	if own.State() == exchange.Requested {
		t.spend(own, k)
		return t.challenge(own, p)
	}
	if shared == nil {
		return Accepted
	}
	if before := shared.Packets(); t.feed(shared, k, p) {
		shared.touch(before, p.now)
		if shared.State() == exchange.Requested {
			t.spend(shared, k)
			return t.challenge(shared, p)
		}
	}
	return Accepted
}

// spend ends all that a request has a part in which is now complete: no packet
// counts for two challenges, or they would have more bytes than what asks for
// them. A slot for any port has a part in every port's of its kind.
func (t *Table) spend(complete *slot, k *exchange.Kind) {
	for _, s := range t.mine {
		if s != complete && s.State() == exchange.Requesting &&
			(s.port == anyPort || s.port == complete.port || complete.port == anyPort && s.Kind() == k) {
			s.Reset()
		}
	}
}

// feed has a slot take a packet. What came before is given up if it cannot be
// of one request with that.
func (t *Table) feed(s *slot, k *exchange.Kind, p packet) bool {
	if s.Request(p.destination.Port(), p.now) {
		return true
	}
	s.Begin(k)
	if s.Request(p.destination.Port(), p.now) {
		return true
	}
	s.Reset()
	return false
}

// share makes the slot for any port, if the address has sent from another port
// before. It begins with what came from there.
func (t *Table) share(k *exchange.Kind, p packet) *slot {
	var from *slot
	for _, s := range t.mine {
		if s.State() == exchange.Requesting && s.Kind() == k && (from == nil || s.touched.After(from.touched)) {
			from = s
		}
	}
	if from == nil {
		return nil
	}
	t.spare.CopyFrom(&from.Responder)
	s := t.acquire(k, p, anyPort, nil)
	if s != nil {
		s.CopyFrom(&t.spare)
		s.touched = p.now
	}
	return s
}

// challenge answers the request that a slot has.
func (t *Table) challenge(s *slot, p packet) Outcome {
	if t.cfg.Allows != nil && !t.cfg.Allows(s.Requested().Operation(), p.source.Addr()) {
		s.Reset()
		return Unmatched
	}
	if !t.limit.take(p.now) && !t.reserve.take(s.Requested().Operation(), p) {
		s.Reset()
		return RateLimited
	}
	if !t.makeRoom(s.port) {
		s.Reset()
		return NoSlot
	}
	nonce, err := t.nonce()
	var port uint16
	if o := s.Requested().Operation(); err == nil && o.RandomPort() && t.cfg.Port != nil {
		port = t.cfg.Port(o)
	}
	payload := t.payload[:0]
	if err == nil {
		payload, err = s.Challenge(payload, p.source.Addr(), t.public(p.destination.Addr()), nonce, port)
	}
	if err == nil {
		s.server, s.touched, s.challenged = p.destination.Addr(), p.now, p.now
		err = t.cfg.Answer(p.source, p.destination, payload)
	}
	if err != nil {
		s.Reset()
		return SendFailed
	}
	return Answered
}

// makeRoom makes room for one more challenge to the packet's source: of those that
// wait the oldest gives way, but none whose response has begun. So a client's
// request that is played again in its name, even before the first packet of its
// response, does not end its exchange.
func (t *Table) makeRoom(port uint16) bool {
	var oldest *slot
	n := 0
	for _, s := range t.mine {
		if s.State() != exchange.Challenged || s.port != port {
			continue
		}
		n++
		if !s.answering() && (oldest == nil || s.challenged.Before(oldest.challenged)) {
			oldest = s
		}
	}
	if n < perPort {
		return true
	}
	if oldest == nil {
		return false
	}
	oldest.Reset()
	return true
}
