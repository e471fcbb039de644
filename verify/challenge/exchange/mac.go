package exchange

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"

	"sallyport/verify/wire"
)

// maxMACInput is the maximum number of bytes that a MAC covers: a nonce and two
// addresses.
const maxMACInput = NonceSize + 2*16

// mac is HMAC-SHA256, truncated to 160 bits, over fields of fixed sizes: a nonce,
// and addresses of 16 bytes each, an IPv4 address as an IPv4-mapped one. The keys
// are as long as the hash, so shorter than a block. mac does not allocate, so
// that a flood of requests makes no work for the garbage collector.
func mac(key []byte, nonce []byte, addresses ...netip.Addr) (m [MACSize]byte) {
	var inner [sha256.BlockSize + maxMACInput]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	for i := range sha256.BlockSize {
		inner[i], outer[i] = 0x36, 0x5c
	}
	for i, b := range key {
		inner[i] ^= b
		outer[i] ^= b
	}
	n := sha256.BlockSize
	n += copy(inner[n:], nonce)
	for _, a := range addresses {
		b := a.As16()
		n += copy(inner[n:], b[:])
	}
	sum := sha256.Sum256(inner[:n])
	copy(outer[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(outer[:])
	copy(m[:], sum[:])
	return m
}

// isn returns the initial sequence number to which an exchange binds a connection
// (section 7.1): it is derived from the response, which is the MAC of N_A, PID_A and
// PID_B, so the server does not have to keep these.
func (o *Operation) isn(response *[MACSize]byte) wire.ISN {
	m := mac(o.isnKey, response[:])
	return wire.ISNOf(m[:])
}

// ticket returns the ticket of an exchange, derived as its initial sequence number is.
func (o *Operation) ticket(response *[MACSize]byte) [TicketSize]byte {
	m := mac(o.ticketKey, response[:])
	return [TicketSize]byte(m[:])
}

// portCipher returns the cipher of a challenge's port: AES-256-GCM. Its key is
// used for this challenge only, so the cipher's nonce may be the same for all.
func (o *Operation) portCipher(nonce [NonceSize]byte) (cipher.AEAD, error) {
	h := hmac.New(sha256.New, o.portKey)
	h.Write(nonce[:])
	block, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// portBinding returns the additional data of the cipher, which binds a port to
// the exchange: N_A, PID_A and PID_B.
func portBinding(nonce [NonceSize]byte, client, server netip.Addr) []byte {
	a, b := client.As16(), server.As16()
	return append(append(nonce[:], a[:]...), b[:]...)
}

func (o *Operation) sealPort(
	dst []byte, port uint16, nonce [NonceSize]byte, client, server netip.Addr,
) ([]byte, error) {
	c, err := o.portCipher(nonce)
	if err != nil {
		return dst, err
	}
	plain := binary.BigEndian.AppendUint16(nil, port)
	return c.Seal(dst, make([]byte, c.NonceSize()), plain, portBinding(nonce, client, server)), nil
}

func (o *Operation) openPort(sealed []byte, nonce [NonceSize]byte, client, server netip.Addr) (uint16, error) {
	c, err := o.portCipher(nonce)
	if err != nil {
		return 0, err
	}
	b, err := c.Open(nil, make([]byte, c.NonceSize()), sealed, portBinding(nonce, client, server))
	if err != nil || len(b) != 2 || binary.BigEndian.Uint16(b) == 0 {
		return 0, errors.New("its port is not authentic")
	}
	return binary.BigEndian.Uint16(b), nil
}
