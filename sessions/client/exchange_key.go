package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

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
		return &SigningError{err: &keyError{err}, unsent: true}
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

// How long a server waits for a response. It may have begun before the client has the
// challenge.
const (
	packetsSignTime = 10 * time.Second
	carriedSignTime = 30 * time.Second
)

// sign sets the response of an answer that a key must sign. It waits no longer than a
// server waits for a response by this carrier: a later one would be lost.
func (c Challenge) sign(ctx context.Context, a *exchange.Answer, by Carrier) error {
	if a.ToSign == nil {
		return nil
	}
	limit := packetsSignTime
	if by != CarrierPackets {
		limit = carriedSignTime
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	response, err := c.Key.Sign(limited, a.ToSign)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return &SigningError{err: &keyError{&lateError{limit}}}
	case err != nil:
		return &SigningError{err: &keyError{err}}
	case len(response) != c.Operation.ResponseSize():
		return &SigningError{err: &keyError{fmt.Errorf("expected a response of %d bytes, got %d bytes", c.Operation.ResponseSize(), len(response))}}
	}
	a.Response = response
	return nil
}

// lateError is the error of a key that takes longer than the server waits.
type lateError struct{ limit time.Duration }

func (e *lateError) Error() string {
	return fmt.Sprintf("expected the signature within %s, since the server waits no longer, got none", e.limit)
}

// Hint returns what to do.
func (e *lateError) Hint() string {
	return "touch the security key while it blinks, or confirm the signature, in this time; over HTTPS and DNS the server waits longer"
}
