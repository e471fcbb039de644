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
		copy(r.nonce[:], rest)
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
		return append(dst, r.nonce[:]...)
	}
	return dst
}

// Pending is the server's state of an exchange between challenge and response.
// It has a fixed size. The expected response is its only secret.
type Pending struct {
	operation *Operation
	client    netip.Addr
	port      uint16
	expected  [MACSize]byte
}

// Proof is the result of a correct response: a client at an address has proved
// that it holds the secret of an operation. Only Verify makes one.
type Proof struct {
	operation *Operation
	client    netip.Addr
	port      uint16
	isn       wire.ISN
	ticket    [TicketSize]byte
}

// Operation is the requested operation.
func (p Proof) Operation() *Operation { return p.operation }

// Client is the authenticated address, PID_A.
func (p Proof) Client() netip.Addr { return p.client }

// Port is the port that the challenge carried. 0: none.
func (p Proof) Port() uint16 { return p.port }

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
	switch o.algorithm {
	case NATAware:
		dst = append(dst, client.AsSlice()...)
		m := mac(o.challengeKey, nil, client, r.client)
		dst = append(dst, m[:]...)
	case Mutual:
		dst = append(dst, client.AsSlice()...)
		m := mac(o.challengeKey, r.nonce[:], server, client)
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
	p.expected = r.expected(client, server, nonce)
	return dst, p, nil
}

// expected returns the response to a challenge.
func (r Request) expected(client, server netip.Addr, nonce [NonceSize]byte) [MACSize]byte {
	return mac(r.operation.responseKey, nonce[:], canonical(client), canonical(server))
}

// Verify reports, in constant time, whether a response is the expected one.
func (p Pending) Verify(response []byte) (Proof, bool) {
	if p.operation == nil || !hmac.Equal(response, p.expected[:]) {
		return Proof{}, false
	}
	o := p.operation
	return Proof{o, p.client, p.port, o.isn(&p.expected), o.ticket(&p.expected)}, true
}
