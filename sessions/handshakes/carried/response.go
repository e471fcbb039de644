package carried

import (
	"crypto/subtle"
	"net/netip"
	"sync/atomic"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// Response takes a response, right or wrong. Either ends the exchange, so the same one
// may arrive again.
func (l *Listener) Response(m *carrier.Message, now time.Time) {
	l.table.count(l.table.respond(m, now))
}

func (t *Table) respond(m *carrier.Message, now time.Time) Outcome {
	s, x, pending := t.end(m.Exchange, now)
	if s == nil {
		return Unmatched
	}
	verified, ok := pending.Verify(m.Bytes())
	p := Proof{verified, x.client, x.exchange, new(atomic.Bool)}
	if !t.settle(s, &x, p, ok, now) {
		return Unmatched
	}
	if !ok {
		t.traced(x.operation, EventOf(Refused), x.client)
		return Refused
	}
	t.cfg.OnProof(p)
	return Verified
}

// end takes what the response of an exchange is compared with, if the exchange waits for
// it. No other response gets it.
func (t *Table) end(x carrier.Exchange, now time.Time) (*slot, terms, exchange.Pending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.storage.lookup(x, now, t.expire)
	if s == nil {
		t.traced(nil, NoExchange, netip.Addr{})
	}
	if s == nil || s.state != waiting {
		return nil, terms{}, exchange.Pending{}
	}
	pending := s.pending
	s.state, s.pending = verifying, exchange.Pending{}
	return s, s.terms, pending
}

// settle holds the ticket of an exchange, if it is proved. It returns false if Update has
// replaced the operation meanwhile. An exchange that has given way has no ticket.
func (t *Table) settle(s *slot, x *terms, p Proof, ok bool, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x.operation.gone {
		return false
	}
	if ok && x.client.IsValid() {
		t.storage.reserve.Add(x.operation.Operation, x.client, now)
	}
	if s.state != verifying || s.terms != *x {
		return true
	}
	if c := x.class(); ok {
		s.move(&c.proved, proved)
		s.proof, s.until = p, now.Add(TicketTime)
	} else {
		s.move(&c.ended, ended)
	}
	return true
}

// Take takes the ticket of a proved exchange, and returns its proof. Each ticket can be
// taken once. A wrong one changes nothing: it cannot be guessed, and an attacker who knows
// only the exchange's number must not be able to end it.
func (t *Table) Take(x carrier.Exchange, ticket [exchange.TicketSize]byte, now time.Time) (Proof, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.storage.lookup(x, now, t.expire)
	if s == nil || s.state != proved {
		return Proof{}, false
	}
	if right := s.proof.Ticket(); subtle.ConstantTimeCompare(ticket[:], right[:]) != 1 {
		return Proof{}, false
	}
	p := s.proof
	s.proof = Proof{}
	s.move(&s.class().ended, ended)
	return p, true
}
