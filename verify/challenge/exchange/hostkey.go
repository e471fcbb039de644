package exchange

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// KeySize is the size in bytes of a host key and of an ephemeral key (RFC 7748).
const KeySize = 32

// The beginnings of the texts of host keys. They differ, so that the private key is
// never given away in place of the public one.
const (
	hostKeyPrefix    = "sallyport-host-key-secret-1:"
	hostPublicPrefix = "sallyport-host-key-1:"
)

// HostKey is the private X25519 key by which a server authenticates itself to clients
// with which it shares no secret. It opens nothing. It is immutable.
type HostKey struct{ private *ecdh.PrivateKey }

// HostPublic is the public key of a HostKey. The zero value is none.
type HostPublic [KeySize]byte

// NewHostKey draws a key.
func NewHostKey(random io.Reader) (*HostKey, error) {
	var b [KeySize]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("draw a host key: %w", err)
	}
	return hostKeyOf(b)
}

func hostKeyOf(b [KeySize]byte) (*HostKey, error) {
	private, err := ecdh.X25519().NewPrivateKey(b[:])
	if err != nil {
		return nil, err
	}
	return &HostKey{private}, nil
}

// ParseHostKey parses the text of a private key. No error has a part of it.
func ParseHostKey(text string) (*HostKey, error) {
	if strings.HasPrefix(text, hostPublicPrefix) {
		return nil, errors.New("this is the public key; expected the private one")
	}
	b, err := parseKey(text, hostKeyPrefix)
	if err != nil {
		return nil, err
	}
	return hostKeyOf(b)
}

// ParseHostPublic parses the text of a public key. No error has a part of it.
func ParseHostPublic(text string) (HostPublic, error) {
	if strings.HasPrefix(text, hostKeyPrefix) {
		return HostPublic{}, errors.New("this is the private key; expected the public one")
	}
	b, err := parseKey(text, hostPublicPrefix)
	if err == nil && b == [KeySize]byte{} {
		err = errors.New("the key is zero")
	}
	return b, err
}

func parseKey(text, prefix string) (key [KeySize]byte, err error) {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return key, fmt.Errorf("expected a text that begins with %q", prefix)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(rest)
	if err != nil || len(b) != KeySize {
		return key, fmt.Errorf("expected %d bytes in base64 after %q", KeySize, prefix)
	}
	return [KeySize]byte(b), nil
}

// Secret returns the text of the private key.
func (k *HostKey) Secret() string {
	return hostKeyPrefix + base64.StdEncoding.EncodeToString(k.private.Bytes())
}

// String returns the text of the public key: a log must not have the private one.
func (k *HostKey) String() string { return k.Public().String() }

// Public returns the public key.
func (k *HostKey) Public() HostPublic { return HostPublic(k.private.PublicKey().Bytes()) }

// String returns the text of the key.
func (p HostPublic) String() string {
	return hostPublicPrefix + base64.StdEncoding.EncodeToString(p[:])
}

// agree is X25519. It returns an error if the result would be zero: the other key then
// has a small order, so the result is no secret.
func agree(private *ecdh.PrivateKey, public [KeySize]byte) ([]byte, error) {
	p, err := ecdh.X25519().NewPublicKey(public[:])
	if err != nil {
		return nil, err
	}
	return private.ECDH(p)
}
