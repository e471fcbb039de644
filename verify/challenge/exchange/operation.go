package exchange

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
)

// Algorithm is one of the paper's three (sections 6.2 and 7.2), by its number.
type Algorithm uint8

// The algorithms.
const (
	Unilateral Algorithm = 1 + iota // 1: without network address translation
	NATAware                        // 2
	Mutual                          // 3: the server authenticates itself first
)

// Sizes in bytes.
const (
	MinID     = 5
	MaxID     = 16
	NonceSize = 20
	MACSize   = 20 // 160 bits of HMAC-SHA256
	// ResponseSize is the size of a response of an operation with a secret.
	ResponseSize = MACSize
	TicketSize   = 16
	portSize     = 2 + 16 // a port, and the tag that authenticates it

	MaxRequest       = MaxID + NonceSize // of an operation with a secret
	MaxSignedRequest = MaxID + KeySize   // of one with public keys
	MaxChallenge     = 16 + MACSize + NonceSize + portSize
)

// Operation is an ID, which requests name, with an algorithm and keys (section
// 6.1). It is immutable, and safe for concurrent use.
type Operation struct {
	id         string
	algorithm  Algorithm
	randomPort bool

	challengeKey, responseKey, portKey, isnKey, ticketKey []byte

	// Of an operation with public keys. Its keys above are those of an exchange.
	public       HostPublic
	host         *HostKey // on the server
	keys         []PublicKey
	responseSize int
}

// NewOperation derives an operation's keys from its secret: one for each
// purpose, algorithm and ID, so that no message is valid for another purpose,
// algorithm or operation. With randomPort, challenges carry a port (section 7.1).
func NewOperation(id, secret string, a Algorithm, randomPort bool) (*Operation, error) {
	o, err := DescribeOperation(id, a, randomPort)
	if err != nil {
		return nil, err
	}
	return o.WithSecret(secret)
}

// DescribeOperation returns an operation without keys. It has sizes, and authenticates
// nothing: NewInitiator and NewOperations refuse it. WithSecret gives it keys.
func DescribeOperation(id string, a Algorithm, randomPort bool) (*Operation, error) {
	switch {
	case len(id) < MinID || len(id) > MaxID:
		return nil, fmt.Errorf("expected an ID of %d to %d bytes, got %d bytes", MinID, MaxID, len(id))
	case a < Unilateral || a > Mutual:
		return nil, fmt.Errorf("expected algorithm 1, 2 or 3, got %d", a)
	}
	return &Operation{id: id, algorithm: a, randomPort: randomPort}, nil
}

// WithSecret returns the operation with the keys of a secret.
func (o *Operation) WithSecret(secret string) (*Operation, error) {
	if secret == "" {
		return nil, errors.New("the secret is empty")
	}
	if o.Signed() {
		return nil, errors.New("the operation has public keys")
	}
	with := *o
	return &with, with.derive([]byte(secret), nil, fmt.Sprintf("algorithm %d", o.algorithm))
}

// derive derives the keys, one for each purpose.
func (o *Operation) derive(secret, salt []byte, context string) (err error) {
	for purpose, key := range map[string]*[]byte{
		"challenge": &o.challengeKey, "response": &o.responseKey, "port": &o.portKey, "isn": &o.isnKey, "ticket": &o.ticketKey,
	} {
		info := fmt.Sprintf("sallyport challenge-response 1, %s, %s, %s", context, purpose, o.id)
		if *key, err = hkdf.Key(sha256.New, secret, salt, info, sha256.Size); err != nil {
			return fmt.Errorf("derive a key: %w", err)
		}
	}
	return nil
}

// errNoKeys is the error of an operation without keys.
var errNoKeys = errors.New("the operation has no secret and no public keys")

// hasKeys reports whether a server can use the operation.
func (o *Operation) hasKeys() bool { return o.responseKey != nil || o.host != nil }

// ID is the operation's public name.
func (o *Operation) ID() string { return o.id }

// Algorithm is the algorithm by which client and server authenticate themselves.
func (o *Operation) Algorithm() Algorithm { return o.algorithm }

// RandomPort reports whether challenges of the operation carry a port.
func (o *Operation) RandomPort() bool { return o.randomPort }

// addressSize is the size of an address as a field of a message.
func addressSize(v6 bool) int {
	if v6 {
		return 16
	}
	return 4
}

// RequestSize is the size of a request from an IPv6 or an IPv4 address.
func (o *Operation) RequestSize(v6 bool) int {
	switch o.algorithm {
	case NATAware:
		return len(o.id) + addressSize(v6)
	case Mutual:
		if o.Signed() {
			return len(o.id) + KeySize
		}
		return len(o.id) + NonceSize
	}
	return len(o.id)
}

// ResponseSize is the size of a response.
func (o *Operation) ResponseSize() int {
	if o.Signed() {
		return o.responseSize
	}
	return ResponseSize
}

// ChallengeSize is the size of a challenge to an IPv6 or an IPv4 address.
func (o *Operation) ChallengeSize(v6 bool) int {
	n := NonceSize
	if o.algorithm != Unilateral {
		n += addressSize(v6) + MACSize
	}
	if o.randomPort {
		n += portSize
	}
	return n
}

// canonical returns an address in the form that both ends use: an IPv4-mapped
// address as IPv4, and no zone.
func canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
