package exchange

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
)

// mac is HMAC-SHA256, cut to 160 bits, over fields of fixed sizes: nonces as
// they are, addresses with 16 bytes each, an IPv4 address as a mapped one.
func mac(key []byte, nonce []byte, addresses ...netip.Addr) (m [MACSize]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(nonce)
	for _, a := range addresses {
		b := a.As16()
		h.Write(b[:])
	}
	copy(m[:], h.Sum(nil))
	return m
}

// sealer is the cipher of a port: AES-256-GCM with a key for this challenge
// alone, so that the cipher's own nonce may be the same for all.
func (o *Operation) sealer(nonce [NonceSize]byte) (cipher.AEAD, error) {
	h := hmac.New(sha256.New, o.portKey)
	h.Write(nonce[:])
	block, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// bound is what a port is good for alone.
func bound(nonce [NonceSize]byte, client, server netip.Addr) []byte {
	a, b := client.As16(), server.As16()
	return append(append(nonce[:], a[:]...), b[:]...)
}

func (o *Operation) sealPort(dst []byte, port uint16, nonce [NonceSize]byte, client, server netip.Addr) ([]byte, error) {
	c, err := o.sealer(nonce)
	if err != nil {
		return dst, err
	}
	return c.Seal(dst, make([]byte, c.NonceSize()), binary.BigEndian.AppendUint16(nil, port), bound(nonce, client, server)), nil
}

func (o *Operation) openPort(sealed []byte, nonce [NonceSize]byte, client, server netip.Addr) (uint16, error) {
	c, err := o.sealer(nonce)
	if err != nil {
		return 0, err
	}
	b, err := c.Open(nil, make([]byte, c.NonceSize()), sealed, bound(nonce, client, server))
	if err != nil || len(b) != 2 || binary.BigEndian.Uint16(b) == 0 {
		return 0, errors.New("the port in it is not authentic")
	}
	return binary.BigEndian.Uint16(b), nil
}
