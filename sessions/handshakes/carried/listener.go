package carried

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// Listener takes the messages of one carrier, at one name. It implements
// ingest/web.Exchanges, and is safe for concurrent use.
type Listener struct {
	table            *Table
	server           netip.Addr // PID_B for a connection
	public4, public6 netip.Addr // PID_B for an address
}

// At returns the Listener of a carrier at a name. Server is carrier.ServerOf of both;
// public4 and public6 are the addresses at which clients reach the services. The Listener
// ignores requests of a kind whose address is zero.
func (t *Table) At(server, public4, public6 netip.Addr) *Listener {
	return &Listener{t, server, public4, public6}
}

// parties returns the addresses of an exchange: that of the client in its messages, and
// the server's. The last result is false if the listener takes no such request.
func (l *Listener) parties(m *carrier.Message, client netip.Addr) (from, server netip.Addr, ok bool) {
	switch m.Kind {
	case carrier.Request4:
		return client, l.public4, client.Is4() && l.public4.IsValid()
	case carrier.Request6:
		return client, l.public6, client.Is6() && !client.Is4In6() && l.public6.IsValid()
	case carrier.RequestConnection:
		return carrier.ClientOf(m.Exchange), l.server, l.server.IsValid()
	}
	return client, server, false
}

// Request appends the challenge for a complete request, and reports whether there is one.
// The client is the address from which it came, or the zero Addr if it is for a
// connection. The same request may arrive again: it gets the same challenge.
func (l *Listener) Request(dst []byte, m *carrier.Message, client netip.Addr, now time.Time) ([]byte, bool) {
	if m.Kind == carrier.RequestConnection {
		client = netip.Addr{}
	}
	dst, o, event := l.request(dst, m, client, now)
	outcome, ok := event.Outcome()
	if !ok {
		outcome = Unmatched
	}
	l.table.count(outcome)
	l.table.traced(o, event, client)
	return dst, outcome == Answered || outcome == Repeated
}

// OtherFamily takes a request for an address of another family than the client's, for a
// trace. It gets no challenge, and is not counted.
func (l *Listener) OtherFamily(m *carrier.Message, client netip.Addr) {
	if !l.table.traces() {
		return
	}
	if o, _, ok := l.table.catalog.Load().find(m); ok {
		l.table.traced(o, OtherAddress, client)
	}
}

// request is Request. It also returns the operation of the message; nil: it has none, or no
// trace runs that would show it.
func (l *Listener) request(dst []byte, m *carrier.Message, client netip.Addr, now time.Time) ([]byte, *operation, Event) {
	t := l.table
	from, server, ok := l.parties(m, client)
	if !ok && !t.traces() {
		return dst, nil, NoOperation
	}
	o, request, found := t.catalog.Load().find(m)
	switch {
	case !found:
		return dst, nil, NoOperation
	case !ok:
		return dst, o, OtherAddress
	case t.cfg.Allows != nil && !t.cfg.Allows(o.Operation, client):
		return dst, o, NotAllowed
	}
	x := terms{exchange: m.Exchange, listener: l, operation: o, kind: m.Kind, client: client}
	copy(x.request[:], m.Bytes())
	dst, nonce, outcome := t.admit(dst, &x, now)
	if outcome != Answered {
		return dst, o, eventOf(outcome)
	}
	var port uint16
	if o.RandomPort() && t.cfg.Port != nil {
		port = t.cfg.Port(o.Operation)
	}
	before := len(dst)
	dst, pending, err := request.Challenge(dst, from, server, nonce, port)
	if errors.Is(err, exchange.ErrEphemeral) {
		return dst[:before], o, NotValid
	}
	if err != nil {
		return dst[:before], o, EventOf(Failed)
	}
	dst, outcome = t.begin(dst, before, &x, pending, now)
	return dst, o, eventOf(outcome)
}

// eventOf returns the event of an outcome of a request for an operation: without a match,
// the operation was replaced meanwhile.
func eventOf(o Outcome) Event {
	if o == Unmatched {
		return NotValid
	}
	return EventOf(o)
}

// admit answers a request that is repeated. For a new one, it returns Answered and the
// nonce, if its class may have another challenge. So many as new ones are sent again, since
// the answers of a carrier are limited for all classes together.
func (t *Table) admit(dst []byte, x *terms, now time.Time) ([]byte, [exchange.NonceSize]byte, Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x.operation.gone {
		return dst, t.nonceBuffer, Unmatched
	}
	st := t.storage
	if s := st.lookup(x.exchange, now, t.expire); s != nil {
		if s.terms == *x && !x.class().repeats.Take(now) && !st.repeats.Take(now) {
			return dst, t.nonceBuffer, RateLimited
		}
		dst, outcome := s.repeat(dst, x)
		return dst, t.nonceBuffer, outcome
	}
	o := x.operation.Operation
	if !x.class().rate.Take(o, now) && !st.common.Take(o, now) && !(x.client.IsValid() && st.reserve.Take(o, x.client, now)) {
		return dst, t.nonceBuffer, RateLimited
	}
	// A local variable that is passed to an interface would be allocated.
	if _, err := io.ReadFull(t.cfg.Random, t.nonceBuffer[:]); err != nil {
		return dst, t.nonceBuffer, Failed
	}
	return dst, t.nonceBuffer, Answered
}

// begin holds an exchange whose challenge is in dst. If another goroutine has answered the
// same request meanwhile, its challenge counts.
func (t *Table) begin(dst []byte, before int, x *terms, p exchange.Pending, now time.Time) ([]byte, Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x.operation.gone {
		return dst[:before], Unmatched
	}
	if s := t.storage.lookup(x.exchange, now, t.expire); s != nil {
		return s.repeat(dst[:before], x)
	}
	s := t.insert(*x, now)
	s.pending = p
	s.size = copy(s.challenge[:], dst[before:])
	return dst, Answered
}

// repeat appends the challenge of an exchange, if a request has the same terms.
func (s *slot) repeat(dst []byte, x *terms) ([]byte, Outcome) {
	if s.terms != *x {
		return dst, Conflicting
	}
	return append(dst, s.challenge[:s.size]...), Repeated
}
