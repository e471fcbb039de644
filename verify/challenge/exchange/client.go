package exchange

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/netip"
)

// Initiator is a client's side of one exchange.
type Initiator struct {
	operation    *Operation
	self, server netip.Addr
	nonce        [NonceSize]byte
}

// ErrNotAuthentic says that a challenge comes from somebody else, or answers
// another request: the right one may still come.
var ErrNotAuthentic = errors.New("the challenge is not authentic")

// NewInitiator begins an exchange: self is the address from which the client
// sends (ID_A), server that to which it sends (PID_B), both of one family. The
// nonce (N_B, of Algorithm 3 alone) has to be unpredictable and new.
func NewInitiator(o *Operation, self, server netip.Addr, nonce [NonceSize]byte) (*Initiator, error) {
	self, server = proper(self), proper(server)
	if !self.IsValid() || self.Is4() != server.Is4() {
		return nil, fmt.Errorf("from %s to %s: both have to be addresses of one family", self, server)
	}
	return &Initiator{o, self, server, nonce}, nil
}

// Request is the first message.
func (c *Initiator) Request() []byte {
	b := []byte(c.operation.id)
	switch c.operation.algorithm {
	case NATAware:
		b = append(b, c.self.AsSlice()...)
	case Mutual:
		b = append(b, c.nonce[:]...)
	}
	return b
}

// Answer is what a challenge comes to.
type Answer struct {
	Response []byte
	Public   netip.Addr // the client's address as the server sees it; of Algorithm 1 its own
	Port     uint16     // which to connect to; 0: the challenge carried none
}

// Answer reads a challenge and makes the response to it. With Algorithms 2 and
// 3, and with a port, it does so only if the challenge is authentic.
func (c *Initiator) Answer(challenge []byte) (Answer, error) {
	o, rest := c.operation, challenge
	if len(challenge) != o.ChallengeSize(c.self.Is6()) {
		return Answer{}, fmt.Errorf("%w: it has %d bytes, where %d are due", ErrNotAuthentic, len(challenge), o.ChallengeSize(c.self.Is6()))
	}
	take := func(n int) (field []byte) {
		field, rest = rest[:n], rest[n:]
		return field
	}
	public := c.self
	if o.algorithm != Unilateral {
		public, _ = netip.AddrFromSlice(take(addressSize(c.self.Is6())))
		var want [MACSize]byte
		if o.algorithm == NATAware {
			want = mac(o.challengeKey, nil, public, c.self)
		} else {
			want = mac(o.challengeKey, c.nonce[:], c.server, public)
		}
		if !hmac.Equal(take(MACSize), want[:]) {
			return Answer{}, ErrNotAuthentic
		}
	}
	nonce := [NonceSize]byte(take(NonceSize))
	a := Answer{Public: public}
	if o.randomPort {
		var err error
		if a.Port, err = o.openPort(take(portSize), nonce, public, c.server); err != nil {
			return Answer{}, fmt.Errorf("%w: %w", ErrNotAuthentic, err)
		}
	}
	m := mac(o.responseKey, nonce[:], public, c.server)
	a.Response = m[:]
	return a, nil
}
