package carriers

import (
	"bytes"
	"crypto/rand"
	"net/netip"
	"sync"
	"time"

	"sallyport/ingest/web"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// table holds the exchanges of all listeners.
type table struct {
	http, dns web.Exchanges
	refused   func() uint64
}

// slots is the number of exchanges that the table holds.
const slots = 1 << 16

func newTable(public netip.Addr, onProof func(carrier.Exchange)) (table, error) {
	o, err := exchange.NewOperation(operationID, secret, exchange.NATAware, false)
	if err != nil {
		return table{}, err
	}
	s := &shared{operation: o, slots: map[carrier.Exchange]*slot{}, onProof: onProof}
	return table{
		http:    &listener{s, carrier.ServerOf(carrier.HTTP, host), public},
		dns:     &listener{s, carrier.ServerOf(carrier.DNS, zone), public},
		refused: func() uint64 { return 0 },
	}, nil
}

type shared struct {
	operation *exchange.Operation
	onProof   func(carrier.Exchange)

	mu    sync.Mutex
	slots map[carrier.Exchange]*slot
	ring  [slots]carrier.Exchange
	next  int
}

type slot struct {
	request, challenge []byte
	pending            exchange.Pending
}

// listener is the table as one listener sees it.
type listener struct {
	*shared
	server, public netip.Addr
}

func (l *listener) Request(dst []byte, m *carrier.Message, client netip.Addr, _ time.Time) ([]byte, bool) {
	r, err := exchange.ParseRequest(l.operation, m.Kind != carrier.Request4, m.Bytes())
	if err != nil {
		return dst, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.slots[m.Exchange]; s != nil {
		return append(dst, s.challenge...), bytes.Equal(s.request, m.Bytes())
	}
	server := l.public
	if m.Kind == carrier.RequestConnection {
		client, server = carrier.ClientOf(m.Exchange), l.server
	}
	var nonce [exchange.NonceSize]byte
	rand.Read(nonce[:])
	challenge, pending, err := r.Challenge(nil, client, server, nonce, 0)
	if err != nil {
		return dst, false
	}
	delete(l.slots, l.ring[l.next])
	l.ring[l.next], l.next = m.Exchange, (l.next+1)%slots
	l.slots[m.Exchange] = &slot{bytes.Clone(m.Bytes()), challenge, pending}
	return append(dst, challenge...), true
}

func (l *listener) Response(m *carrier.Message, _ time.Time) {
	l.mu.Lock()
	s := l.slots[m.Exchange]
	delete(l.slots, m.Exchange)
	l.mu.Unlock()
	if s == nil {
		return
	}
	if _, ok := s.pending.Verify(m.Bytes()); ok {
		l.onProof(m.Exchange)
	}
}
