package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"sallyport/verify/challenge/exchange"
)

// KeySigner signs with a client's private key, for an operation with public keys.
type KeySigner interface {
	// Prepare asks for what Sign requires, such as a passphrase. Exchange calls it
	// before it sends anything, because the server does not wait for a person for long.
	Prepare(context.Context) error
	// Sign returns the response: the signature of data, of 64 bytes; and of a security
	// key, its flags and its counter, 5 more bytes. Data is that of SSHSIG.
	Sign(ctx context.Context, data []byte) (response []byte, err error)
}

// errNoKey is the error of an operation with public keys without a private key.
var errNoKey = errors.New("the operation has public keys, but there is no private key")

// prepareKey prepares the signer of an operation with public keys.
func (c Challenge) prepareKey(ctx context.Context) error {
	err := errNoKey
	if c.Key != nil {
		err = c.Key.Prepare(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return &SigningError{&keyError{err}}
	}
	return nil
}

// initiator begins an exchange from an address (ID_A) with a server (PID_B).
func (c Challenge) initiator(self, server netip.Addr, random io.Reader) (*exchange.Initiator, error) {
	if c.Operation.Signed() {
		var secret [exchange.KeySize]byte
		if _, err := io.ReadFull(random, secret[:]); err != nil {
			return nil, fmt.Errorf("draw a key: %w", err)
		}
		return exchange.NewSigningInitiator(c.Operation, self, server, secret)
	}
	var nonce [exchange.NonceSize]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	return exchange.NewInitiator(c.Operation, self, server, nonce)
}

// sign sets the response of an answer that a key must sign.
func (c Challenge) sign(ctx context.Context, a *exchange.Answer) error {
	if a.ToSign == nil {
		return nil
	}
	response, err := c.Key.Sign(ctx, a.ToSign)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return &SigningError{&keyError{err}}
	case len(response) != c.Operation.ResponseSize():
		return &SigningError{&keyError{fmt.Errorf("expected a response of %d bytes, got %d bytes", c.Operation.ResponseSize(), len(response))}}
	}
	a.Response = response
	return nil
}
