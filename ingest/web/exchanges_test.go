package web

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

const (
	testID     = "ssh-alice-"
	testSecret = "correct horse battery staple"
	testZone   = "k.example.com"
)

func operation(t testing.TB, a exchange.Algorithm, id string) *exchange.Operation {
	t.Helper()
	o, err := exchange.NewOperation(id, testSecret, a, false)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// responders are Exchanges with operations, without bounds.
type responders struct {
	operations []*exchange.Operation
	server     netip.Addr // PID_B of a RequestConnection
	public     netip.Addr // PID_B of other requests

	mu       sync.Mutex
	waiting  map[carrier.Exchange]*waiting
	proofs   []exchange.Proof
	requests int // with repetitions
}

type waiting struct {
	request, challenge []byte
	client             netip.Addr
	pending            exchange.Pending
}

func newResponders(server netip.Addr, operations ...*exchange.Operation) *responders {
	return &responders{
		operations: operations, server: server, public: netip.MustParseAddr("127.0.0.1"),
		waiting: map[carrier.Exchange]*waiting{},
	}
}

func (r *responders) Request(
	dst []byte, m *carrier.Message, client netip.Addr, now time.Time,
) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	if w := r.waiting[m.Exchange]; w != nil {
		return append(dst, w.challenge...), bytes.Equal(w.request, m.Bytes()) && w.client == client
	}
	from, server := client, r.public
	if m.Kind == carrier.RequestConnection {
		from, server = carrier.ClientOf(m.Exchange), r.server
	}
	for _, o := range r.operations {
		request, err := exchange.ParseRequest(o, m.Kind != carrier.Request4, m.Bytes())
		if err != nil {
			continue
		}
		nonce := [exchange.NonceSize]byte{byte(len(r.waiting)), 1, 2, 3}
		challenge, pending, err := request.Challenge(nil, from, server, nonce, 0)
		if err != nil {
			return dst, false
		}
		r.waiting[m.Exchange] = &waiting{bytes.Clone(m.Bytes()), challenge, client, pending}
		return append(dst, challenge...), true
	}
	return dst, false
}

func (r *responders) Response(m *carrier.Message, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waiting[m.Exchange]
	if w == nil {
		return
	}
	if p, ok := w.pending.Verify(m.Bytes()); ok {
		r.proofs = append(r.proofs, p)
	}
	w.pending = exchange.Pending{}
}

// proved returns the number of exchanges that were proved.
func (r *responders) proved() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.proofs)
}

// message makes a message that a client sends.
func message(t testing.TB, k carrier.Kind, x carrier.Exchange, b []byte) *carrier.Message {
	t.Helper()
	m, err := carrier.New(k, x, b)
	if err != nil {
		t.Fatal(err)
	}
	return &m
}
