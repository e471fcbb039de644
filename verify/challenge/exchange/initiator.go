package exchange

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/netip"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Initiator is a client's side of one exchange.
type Initiator struct {
	operation    *Operation
	self, server netip.Addr
	nonce        [NonceSize]byte
	mask         []byte // of the request; nil: none
}

// ErrNotAuthentic is the error for a challenge of an attacker, or one that
// answers another request. The server's challenge may still arrive.
var ErrNotAuthentic = errors.New("the challenge is not authentic")

// NewInitiator begins an exchange. The client sends from self (ID_A) to server
// (PID_B); both must have one address family. The nonce (N_B) must be
// unpredictable and new; only Algorithm 3 uses it.
func NewInitiator(o *Operation, self, server netip.Addr, nonce [NonceSize]byte) (*Initiator, error) {
	if !o.hasKeys() {
		return nil, errNoKeys
	}
	self, server = canonical(self), canonical(server)
	if !self.IsValid() || self.Is4() != server.Is4() {
		return nil, fmt.Errorf("expected two addresses of one family, got %s and %s", self, server)
	}
	return &Initiator{operation: o, self: self, server: server, nonce: nonce}, nil
}

// Hop masks the request by the hop of the minute in which it is sent.
func (i *Initiator) Hop(h schedule.Hop) { i.mask = h.Mask[:] }

// Request returns the first message.
func (i *Initiator) Request() []byte {
	b := []byte(i.operation.id)
	switch i.operation.algorithm {
	case NATAware:
		b = append(b, i.self.AsSlice()...)
	case Mutual:
		b = append(b, i.nonce[:]...)
	}
	return xor(b, i.mask)
}

// Authenticates reports whether a challenge proves that the server has sent it.
func (i *Initiator) Authenticates() bool {
	return i.operation.algorithm != Unilateral || i.operation.randomPort
}

// Answer is the result of a challenge.
type Answer struct {
	Response []byte
	Public   netip.Addr // the client's address as the server sees it; with Algorithm 1, self
	Port     uint16     // the port to connect to; 0: the challenge has no port
	ISN      wire.ISN   // of the connection, if the service requires one
	// Ticket is the proof of a tunnel: see CARRIERS.md. It is a secret.
	Ticket [TicketSize]byte
}

// Answer parses a challenge and makes the response. With Algorithms 2 and 3, and
// with a port, it returns ErrNotAuthentic if the challenge is not authentic.
func (i *Initiator) Answer(challenge []byte) (Answer, error) {
	o, rest := i.operation, challenge
	if len(challenge) != o.ChallengeSize(i.self.Is6()) {
		return Answer{}, fmt.Errorf("%w: expected %d bytes, got %d bytes",
			ErrNotAuthentic, o.ChallengeSize(i.self.Is6()), len(challenge))
	}
	take := func(n int) (field []byte) {
		field, rest = rest[:n], rest[n:]
		return field
	}
	public := i.self
	if o.algorithm != Unilateral {
		public, _ = netip.AddrFromSlice(take(addressSize(i.self.Is6())))
		var want [MACSize]byte
		if o.algorithm == NATAware {
			want = mac(o.challengeKey, nil, public, i.self)
		} else {
			want = mac(o.challengeKey, i.nonce[:], i.server, public)
		}
		if !hmac.Equal(take(MACSize), want[:]) {
			return Answer{}, ErrNotAuthentic
		}
	}
	nonce := [NonceSize]byte(take(NonceSize))
	a := Answer{Public: public}
	if o.randomPort {
		var err error
		if a.Port, err = o.openPort(take(portSize), nonce, public, i.server); err != nil {
			return Answer{}, fmt.Errorf("%w: %w", ErrNotAuthentic, err)
		}
	}
	m := mac(o.responseKey, nonce[:], public, i.server)
	a.Response, a.ISN, a.Ticket = m[:], o.isn(&m), o.ticket(&m)
	return a, nil
}
