package preamble

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"

	"sallyport/verify/wire"
)

// MAC returns the HMAC-SHA256 of a message under the client's secret. It may ask a
// device or a program for it. It must not retain the message.
type MAC func(message []byte) ([wire.MACSize]byte, error)

// SecretMAC returns the MAC of a secret that is in memory. It retains the secret.
func SecretMAC(secret []byte) MAC {
	return func(message []byte) (sum [wire.MACSize]byte, err error) {
		h := hmac.New(sha256.New, secret)
		h.Write(message)
		h.Sum(sum[:0])
		return sum, nil
	}
}

// ErrNotAuthentic is the error for an answer that does not come from the server, or is
// for another service, client secret or connection.
var ErrNotAuthentic = errors.New("the answer to the preamble is not authentic")

// Client is the client's side of one handshake. It calls MAC three times: once before
// there must be a connection, and twice when the answer is there.
type Client struct {
	service  string
	preamble Preamble
	mac      MAC
}

// NewClient makes the preamble of one connection to a service. The nonce must be unused,
// and its use must be on stable storage before the preamble is sent. The timestamp is
// the client's time in Unix seconds.
func NewClient(service string, id wire.Identifier, timestamp, nonce uint32, mac MAC) (*Client, error) {
	if err := CheckService(service); err != nil {
		return nil, err
	}
	c := &Client{service, Preamble{Identifier: id, Timestamp: timestamp, Nonce: nonce}, mac}
	if !id.Valid() {
		return nil, RuleIdentifier
	}
	var err error
	if c.preamble.MAC, err = mac(AppendPreambleMessage(nil, service, c.preamble)); err != nil {
		return nil, fmt.Errorf("sign the preamble of a connection: %w", err)
	}
	return c, nil
}

// Preamble returns the bytes with which the connection begins.
func (c *Client) Preamble() (b [Size]byte) {
	c.preamble.append(b[:0])
	return b
}

// Answer takes the first AnswerSize bytes that the server sends, and returns the bytes
// to send next. After these, the bytes in both directions are the service's. If the error
// is ErrNotAuthentic, the client must end the connection, and send nothing.
func (c *Client) Answer(answer []byte) (proof [ProofSize]byte, err error) {
	a, err := ParseAnswer(answer)
	if err != nil {
		return proof, fmt.Errorf("%w: expected %d bytes, got %d bytes", ErrNotAuthentic, AnswerSize, len(answer))
	}
	want, err := c.mac(AppendAnswerMessage(nil, c.service, c.preamble, a.Nonce))
	if err != nil {
		return proof, fmt.Errorf("check the answer to the preamble: %w", err)
	}
	if !hmac.Equal(want[:], a.MAC[:]) {
		return proof, ErrNotAuthentic
	}
	if proof, err = c.mac(AppendProofMessage(nil, c.service, c.preamble, a.Nonce)); err != nil {
		return proof, fmt.Errorf("sign the proof of a connection: %w", err)
	}
	return proof, nil
}
