package exchange

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// This file has the operations with public keys instead of a secret. PROTOCOL.md,
// "Public keys", specifies them and has the reasons.

// Namespace is the namespace of signatures, in the sense of OpenSSH's SSHSIG.
const Namespace = "challenge-response-1@sallyport"

// SignedPrefix is the beginning of all data that a key signs: SSHSIG, and the namespace
// with its length.
const SignedPrefix = "SSHSIG\x00\x00\x00\x1e" + Namespace

// NewSignedOperation returns an operation of a server that knows public keys of its
// clients, 1 to MaxKeys of one type, instead of a secret. Its algorithm is Mutual.
func NewSignedOperation(id string, host *HostKey, keys []PublicKey, randomPort bool) (*Operation, error) {
	o, err := DescribeOperation(id, Mutual, randomPort)
	if err != nil {
		return nil, err
	}
	if host == nil {
		return nil, errors.New("expected a host key, got none")
	}
	if err := checkKeys(keys); err != nil {
		return nil, err
	}
	o.host, o.public, o.keys, o.responseSize = host, host.Public(), slices.Clone(keys), keys[0].responseSize()
	return o, nil
}

// WithHost returns the operation as a client has it that signs with a key, and that
// knows the server's host key. The algorithm must be Mutual.
func (o *Operation) WithHost(host HostPublic, key PublicKey) (*Operation, error) {
	if o.algorithm != Mutual {
		return nil, fmt.Errorf("expected algorithm 3, which public keys require, got %d", o.algorithm)
	}
	if host == (HostPublic{}) {
		return nil, errors.New("expected a host key, got none")
	}
	with := *o
	with.public, with.responseSize = host, key.responseSize()
	return &with, nil
}

// Signed reports whether the operation has public keys instead of a secret.
func (o *Operation) Signed() bool { return o.public != HostPublic{} }

// Work is the number of computations with public keys, of some 80 µs each, that a
// request and a wrong response to its challenge cost the server. 0: the operation has a
// secret.
func (o *Operation) Work() int {
	if !o.Signed() {
		return 0
	}
	return 1 + len(o.keys)
}

// signed is what a Pending of an operation with public keys has in addition.
type signed struct {
	keys    *Operation // those of this exchange
	message [sha512.Size]byte
}

// agreed returns the operation with the keys of one exchange: they are derived from the
// result of X25519 of the request's key and the host key.
func (o *Operation) agreed(shared []byte, ephemeral [KeySize]byte) (*Operation, error) {
	with := *o
	salt := slices.Concat(ephemeral[:], o.public[:])
	return &with, with.derive(shared, salt, "public keys")
}

// messageOf returns the hash of the message that a client signs.
func (o *Operation) messageOf(
	ephemeral [KeySize]byte, nonce [NonceSize]byte, client, server netip.Addr,
) [sha512.Size]byte {
	a, b := client.As16(), server.As16()
	return sha512.Sum512(appendStrings(nil, []byte(o.id), ephemeral[:], o.public[:], nonce[:], a[:], b[:]))
}

// signedData returns what the key signs for a message: the blob of SSHSIG.
func signedData(message [sha512.Size]byte) []byte {
	return appendStrings([]byte(SignedPrefix), nil, []byte("sha512"), message[:])
}

// signer returns the key of the operation by which a response is signed, or nil.
func (p Pending) signer(response []byte) *PublicKey {
	if len(response) != p.operation.responseSize {
		return nil
	}
	data := signedData(p.signed.message)
	for i := range p.operation.keys {
		if k := &p.operation.keys[i]; k.Verifies(data, response) {
			return k
		}
	}
	return nil
}
