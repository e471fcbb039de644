package exchange

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/netip"
)

// Request is what a client asks for: parsed, and authenticated by nothing.
type Request struct {
	operation *Operation
	client    netip.Addr      // ID_A, as the client sees itself; of Algorithm 2
	nonce     [NonceSize]byte // N_B; of Algorithm 3
}

// Operation is what it asks for.
func (r Request) Operation() *Operation { return r.operation }

// ParseRequest reads the request for an operation from an IPv6 or an IPv4
// address. Nothing of b is retained.
func ParseRequest(o *Operation, v6 bool, b []byte) (Request, error) {
	if len(b) != o.RequestSize(v6) {
		return Request{}, fmt.Errorf("a request of %d bytes: it has %d", len(b), o.RequestSize(v6))
	}
	if string(b[:len(o.id)]) != o.id {
		return Request{}, errors.New("a request for another operation")
	}
	r, rest := Request{operation: o}, b[len(o.id):]
	switch o.algorithm {
	case NATAware:
		r.client, _ = netip.AddrFromSlice(rest)
		if r.client.Is4In6() {
			return Request{}, errors.New("an IPv4 address in the form of an IPv6 one")
		}
	case Mutual:
		copy(r.nonce[:], rest)
	}
	return r, nil
}

// Pending is the server's side of an exchange between challenge and response.
// It is a value of fixed size without secrets but the response itself.
type Pending struct {
	operation *Operation
	client    netip.Addr
	port      uint16
	expected  [MACSize]byte
}

// Proof is what a client has proved to have the right to. Only Verify makes
// one.
type Proof struct {
	operation *Operation
	client    netip.Addr
	port      uint16
}

// Operation is what was asked for.
func (g Proof) Operation() *Operation { return g.operation }

// Client is the address that authenticated itself, PID_A.
func (g Proof) Client() netip.Addr { return g.client }

// Port is the one that the challenge carried; 0: none.
func (g Proof) Port() uint16 { return g.port }

// Challenge appends the challenge that answers a request, and returns with it
// what is to be expected. The client is the address from which the request came
// (PID_A), the server that to which it went, as its clients see it (PID_B). The nonce has
// to be unpredictable and new. The port is that of an operation with
// RandomPort; otherwise it does not count.
func (r Request) Challenge(dst []byte, client, server netip.Addr, nonce [NonceSize]byte, port uint16) ([]byte, Pending, error) {
	o := r.operation
	client, server = proper(client), proper(server)
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
			return dst, p, errors.New("a challenge without its port")
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

// Verify says whether a response is the one, in constant time.
func (p Pending) Verify(response []byte) (Proof, bool) {
	if p.operation == nil || !hmac.Equal(response, p.expected[:]) {
		return Proof{}, false
	}
	return Proof{p.operation, p.client, p.port}, true
}
