package exchange

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/netip"

	"sallyport/verify/wire"
)

// Request is a parsed request. It is not authenticated.
type Request struct {
	operation *Operation
	client    netip.Addr      // ID_A, the address as the client sees it; of Algorithm 2
	nonce     [NonceSize]byte // N_B; of Algorithm 3
	ephemeral [KeySize]byte   // of an operation with public keys, in place of N_B
}

// Operation is the requested operation.
func (r Request) Operation() *Operation { return r.operation }

// errMapped is made once, so that a refused request allocates nothing.
var errMapped = errors.New("expected an IPv6 address, got an IPv4-mapped one")

// ParseRequest parses a request for an operation from an IPv6 or an IPv4
// address. It does not retain b.
func ParseRequest(o *Operation, v6 bool, b []byte) (Request, error) {
	if len(b) != o.RequestSize(v6) {
		return Request{}, fmt.Errorf("expected a request of %d bytes, got %d bytes", o.RequestSize(v6), len(b))
	}
	if string(b[:len(o.id)]) != o.id {
		return Request{}, errors.New("the request is for another operation")
	}
	r, rest := Request{operation: o}, b[len(o.id):]
	switch o.algorithm {
	case NATAware:
		r.client, _ = netip.AddrFromSlice(rest)
		if r.client.Is4In6() {
			return Request{}, errMapped
		}
	case Mutual:
		if o.Signed() {
			copy(r.ephemeral[:], rest)
		} else {
			copy(r.nonce[:], rest)
		}
	}
	return r, nil
}

// appendMessage appends the request as it was sent.
func (r Request) appendMessage(dst []byte) []byte {
	dst = append(dst, r.operation.id...)
	switch r.operation.algorithm {
	case NATAware:
		a := r.client.As16()
		return append(dst, a[16-addressSize(r.client.Is6()):]...)
	case Mutual:
		if r.operation.Signed() {
			return append(dst, r.ephemeral[:]...)
		}
		return append(dst, r.nonce[:]...)
	}
	return dst
}

// Pending is the server's state of an exchange between challenge and response.
// It has a fixed size. The expected response is its only secret. Of an operation with
// public keys, expected is a MAC that is not sent: only the two ends know it.
type Pending struct {
	operation *Operation
	client    netip.Addr
	port      uint16
	expected  [MACSize]byte
	signed    *signed // nil: the operation has a secret
}

// Proof is the result of a correct response: a client at an address has proved
// that it holds the secret of an operation, or one of its keys. Only Verify makes one.
type Proof struct {
	operation *Operation
	client    netip.Addr
	port      uint16
	isn       wire.ISN
	ticket    [TicketSize]byte
	key       *PublicKey
}

// Operation is the requested operation.
func (p Proof) Operation() *Operation { return p.operation }

// Client is the authenticated address, PID_A.
func (p Proof) Client() netip.Addr { return p.client }

// Port is the port that the challenge carried. 0: none.
func (p Proof) Port() uint16 { return p.port }

// Key is the public key of the client; nil: the operation has a secret.
func (p Proof) Key() *PublicKey { return p.key }

// ISN is the initial sequence number to which the exchange binds a connection. The
// client has derived the same.
func (p Proof) ISN() wire.ISN { return p.isn }

// Ticket is the secret by which a tunnel proves that it is of this exchange. The client
// has derived the same. Compare it in constant time.
func (p Proof) Ticket() [TicketSize]byte { return p.ticket }

// Challenge appends the challenge that answers a request, and returns the
// Pending that verifies the response. The client is the source address of the
// request (PID_A); the server is its destination address, as clients see it
// (PID_B). The nonce must be unpredictable and new. The port is used only if the
// operation has RandomPort, and must then not be 0.
func (r Request) Challenge(
	dst []byte, client, server netip.Addr, nonce [NonceSize]byte, port uint16,
) ([]byte, Pending, error) {
	o := r.operation
	client, server = canonical(client), canonical(server)
	p := Pending{operation: o, client: client}
	if o.Signed() {
		keys, err := r.agreed()
		if err != nil {
			return dst, p, err
		}
		p.signed = &signed{keys, o.messageOf(r.ephemeral, nonce, client, server)}
		o = keys
	}
	switch o.algorithm {
	case NATAware:
		dst = append(dst, client.AsSlice()...)
		m := mac(o.challengeKey, nil, client, r.client)
		dst = append(dst, m[:]...)
	case Mutual:
		dst = append(dst, client.AsSlice()...)
		fresh := r.nonce
		if o.Signed() {
			fresh = nonce
		}
		m := mac(o.challengeKey, fresh[:], server, client)
		dst = append(dst, m[:]...)
	}
	dst = append(dst, nonce[:]...)
	if o.randomPort {
		if port == 0 {
			return dst, p, errors.New("the operation requires a port, got none")
		}
		var err error
		if dst, err = o.sealPort(dst, port, nonce, client, server); err != nil {
			return dst, p, fmt.Errorf("encrypt the port: %w", err)
		}
		p.port = port
	}
	p.expected = mac(o.responseKey, nonce[:], client, server)
	return dst, p, nil
}

// ErrEphemeral is the error of a request whose key has a small order. No client sends
// it.
var ErrEphemeral = errors.New("the key of the request has a small order")

// agreed returns the operation with the keys of the exchange.
func (r Request) agreed() (*Operation, error) {
	if r.operation.host == nil {
		return nil, errNoKeys
	}
	shared, err := agree(r.operation.host.private, r.ephemeral)
	if err != nil {
		return nil, ErrEphemeral
	}
	return r.operation.agreed(shared, r.ephemeral)
}

// expected returns the response to a challenge of an operation with a secret.
func (r Request) expected(client, server netip.Addr, nonce [NonceSize]byte) [MACSize]byte {
	return mac(r.operation.responseKey, nonce[:], canonical(client), canonical(server))
}

// Verify reports, in constant time, whether a response is the expected one, or is
// signed by one of the operation's keys.
func (p Pending) Verify(response []byte) (Proof, bool) {
	keys := p.operation
	var key *PublicKey
	switch {
	case keys == nil:
		return Proof{}, false
	case p.signed != nil:
		if key = p.signer(response); key == nil {
			return Proof{}, false
		}
		keys = p.signed.keys
	case !hmac.Equal(response, p.expected[:]):
		return Proof{}, false
	}
	return Proof{p.operation, p.client, p.port, keys.isn(&p.expected), keys.ticket(&p.expected), key}, true
}
