package exchange

import (
	"crypto/ecdh"
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

	// Of an operation with public keys: the request's key, and the operation with the
	// keys of the exchange.
	ephemeral [KeySize]byte
	keys      *Operation
}

// ErrNotAuthentic is the error for a challenge of an attacker, or one that
// answers another request. The server's challenge may still arrive.
var ErrNotAuthentic = errors.New("the challenge is not authentic")

// NewInitiator begins an exchange. The client sends from self (ID_A) to server
// (PID_B); both must have one address family. The nonce (N_B) must be
// unpredictable and new; only Algorithm 3 uses it. For an operation with public keys,
// use NewSigningInitiator.
func NewInitiator(o *Operation, self, server netip.Addr, nonce [NonceSize]byte) (*Initiator, error) {
	if o.responseKey == nil {
		return nil, errNoKeys
	}
	return newInitiator(o, self, server, nonce)
}

// NewSigningInitiator begins an exchange of an operation with public keys: see WithHost.
// The secret is the private key of the request; it must be unpredictable and new.
func NewSigningInitiator(o *Operation, self, server netip.Addr, secret [KeySize]byte) (*Initiator, error) {
	if !o.Signed() {
		return nil, errNoKeys
	}
	i, err := newInitiator(o, self, server, [NonceSize]byte{})
	if err != nil {
		return nil, err
	}
	private, err := ecdh.X25519().NewPrivateKey(secret[:])
	if err != nil {
		return nil, err
	}
	shared, err := agree(private, o.public)
	if err != nil {
		return nil, fmt.Errorf("the host key is not valid: %w", err)
	}
	i.ephemeral = [KeySize]byte(private.PublicKey().Bytes())
	i.keys, err = o.agreed(shared, i.ephemeral)
	return i, err
}

func newInitiator(o *Operation, self, server netip.Addr, nonce [NonceSize]byte) (*Initiator, error) {
	self, server = canonical(self), canonical(server)
	if !self.IsValid() || self.Is4() != server.Is4() {
		return nil, fmt.Errorf("expected two addresses of one family, got %s and %s", self, server)
	}
	return &Initiator{operation: o, keys: o, self: self, server: server, nonce: nonce}, nil
}

// At returns the same exchange with another server, to which the client has sent a part of
// the same request: a challenge from there is for that server.
func (i *Initiator) At(server netip.Addr) *Initiator {
	at := *i
	at.server = canonical(server)
	return &at
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
		if i.operation.Signed() {
			b = append(b, i.ephemeral[:]...)
		} else {
			b = append(b, i.nonce[:]...)
		}
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
	// ToSign is what the client's key must sign, instead of Response: see Signature and
	// SecuritySignature. nil: the operation has a secret.
	ToSign []byte
	Public netip.Addr // the client's address as the server sees it; with Algorithm 1, self
	Server netip.Addr // the server that the response is for
	Port   uint16     // the port to connect to; 0: the challenge has no port
	ISN    wire.ISN   // of the connection, if the service requires one
	// Ticket is the proof of a tunnel: see CARRIERS.md. It is a secret.
	Ticket [TicketSize]byte
}

// Answer parses a challenge and makes the response. With Algorithms 2 and 3, and
// with a port, it returns ErrNotAuthentic if the challenge is not authentic.
func (i *Initiator) Answer(challenge []byte) (Answer, error) {
	o, rest := i.keys, challenge
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
		switch {
		case o.algorithm == NATAware:
			want = mac(o.challengeKey, nil, public, i.self)
		case o.Signed():
			want = mac(o.challengeKey, rest[MACSize:MACSize+NonceSize], i.server, public)
		default:
			want = mac(o.challengeKey, i.nonce[:], i.server, public)
		}
		if !hmac.Equal(take(MACSize), want[:]) {
			return Answer{}, ErrNotAuthentic
		}
	}
	nonce := [NonceSize]byte(take(NonceSize))
	a := Answer{Public: public, Server: i.server}
	if o.randomPort {
		var err error
		if a.Port, err = o.openPort(take(portSize), nonce, public, i.server); err != nil {
			return Answer{}, fmt.Errorf("%w: %w", ErrNotAuthentic, err)
		}
	}
	m := mac(o.responseKey, nonce[:], public, i.server)
	a.ISN, a.Ticket = o.isn(&m), o.ticket(&m)
	if o.Signed() {
		a.ToSign = signedData(o.messageOf(i.ephemeral, nonce, public, i.server))
	} else {
		a.Response = m[:]
	}
	return a, nil
}
