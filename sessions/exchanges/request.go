package exchanges

import (
	"sallyport/verify/challenge/exchange"
)

// request takes a packet of a request. It goes to the slot of its source port,
// and to the one for any port, which there is once an address has sent from
// two: whichever has all packets first is answered.
func (t *Table) request(k *exchange.Kind, p packet) Outcome {
	own := p.find(exchange.Requesting, k, p.source.Port())
	shared := p.find(exchange.Requesting, k, anyPort)
	if own == nil {
		t.scratch.Begin(k)
		if !t.scratch.Request(p.destination.Port(), p.now) {
			return Stray // it is for no operation
		}
		if shared == nil {
			shared = t.share(k, p)
		}
		if own = t.acquire(p, p.source.Port(), shared); own == nil {
			return Crowded
		}
		own.Copy(&t.scratch)
	} else {
		t.feed(own, k, p)
	}
	own.touched = p.now
	if own.State() == exchange.Requested {
		if shared != nil && shared != own {
			shared.Reset()
		}
		return t.challenge(own, p)
	}
	// The other may have had to give way.
	if shared != nil && shared.client == p.source.Addr() && shared.port == anyPort && shared.State() == exchange.Requesting {
		t.feed(shared, k, p)
		shared.touched = p.now
		if shared.State() == exchange.Requested {
			return t.challenge(shared, p)
		}
	}
	return Taken
}

// feed has a slot take a packet, of which what came before is no part if it
// cannot be.
func (t *Table) feed(s *slot, k *exchange.Kind, p packet) {
	if s.Request(p.destination.Port(), p.now) {
		return
	}
	s.Begin(k)
	if !s.Request(p.destination.Port(), p.now) {
		s.Reset()
	}
}

// share makes the slot for any port, if the address has sent from another port
// before. It begins with what came from there.
func (t *Table) share(k *exchange.Kind, p packet) *slot {
	var from *slot
	for i := range p.bucket {
		s := &p.bucket[i]
		if s.client == p.source.Addr() && s.State() == exchange.Requesting && s.Kind() == k && !s.stale(p.now) &&
			(from == nil || s.touched.After(from.touched)) {
			from = s
		}
	}
	if from == nil {
		return nil
	}
	t.spare.Copy(&from.Server)
	s := t.acquire(p, anyPort, nil)
	if s != nil {
		s.Copy(&t.spare)
		s.touched = p.now
	}
	return s
}

// challenge answers the request that a slot has.
func (t *Table) challenge(s *slot, p packet) Outcome {
	if t.cfg.Allows != nil && !t.cfg.Allows(s.Requested().Operation(), p.source.Addr()) {
		s.Reset()
		return Stray
	}
	if !t.limit.take(p.now) {
		s.Reset()
		return Limited
	}
	if before := p.find(exchange.Challenged, nil, s.port); before != nil {
		before.Reset()
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
		s.server = p.destination.Addr()
		err = t.cfg.Answer(p.source, p.destination, payload)
	}
	if err != nil {
		s.Reset()
		return Unsent
	}
	return Answered
}
