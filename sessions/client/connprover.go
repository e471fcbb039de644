package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"sallyport/verify/preamble"
)

const (
	// preambleTime is how long the handshake of package preamble may take. The server
	// resets a connection after three seconds.
	preambleTime = 5 * time.Second
	// preambleAge is how old a preamble may be that was made ahead: the server compares
	// its timestamp.
	preambleAge = 5 * time.Second
)

// errUnproved is the error of a connection that the server has ended after the preamble.
var errUnproved = errors.New("the server did not accept the preamble of the connection")

// errNoProver is the error of an exchange for a service with BindConnection.
var errNoProver = fmt.Errorf("profile: bind = %q requires an identifier and a secret of the client, beside the operation", BindConnection)

// ConnProver proves connections to a service with BindConnection, by the handshake of
// package preamble. Each connection uses one nonce of the client. It is safe for
// concurrent use.
type ConnProver struct {
	profile Profile
	service string // as the server names it
	nonces  NonceFile
	now     func() time.Time

	opened uint64 // the nonce after those that have opened the service; 0: as in the file

	mu     sync.Mutex
	failed int // since the last success
	ahead  *readyPreamble
}

// readyPreamble is a preamble that is made while the client waits for the network.
type readyPreamble struct {
	made   chan struct{}
	at     time.Time // valid once made is closed, as what follows
	client *preamble.Client
	err    error
}

// NewConnProver returns a prover for the service of that name. The profile needs a
// secret or a Signer. Nonces and now are those of a Config.
func NewConnProver(p Profile, service string, nonces NonceFile, now func() time.Time) (*ConnProver, error) {
	switch {
	case preamble.CheckService(service) != nil:
		return nil, fmt.Errorf("profile: bind = %q requires the name of the service, got %d bytes", BindConnection, len(service))
	case len(p.Secret) == 0 && p.Signer == nil, !p.Identifier.Valid():
		return nil, errNoProver
	}
	return &ConnProver{profile: p, service: service, nonces: nonces, now: now}, nil
}

// prover returns what proves connections after a sequence with nonces from base on; nil:
// the service asks for no proof, or the client makes no whole connections to it.
func (k *knocking) prover(base uint32) *ConnProver {
	p := k.cfg.Profile
	if p.Bind != BindConnection || !k.own || !k.whole() {
		return nil
	}
	return &ConnProver{profile: p, service: p.ServiceName, nonces: k.cfg.Nonces, now: k.cfg.Now, opened: uint64(base) + uint64(p.Ports)}
}

// whole reports whether the client completes the handshake of a connection.
func (k *knocking) whole() bool {
	return k.cfg.Keep || k.cfg.Watch == WatchConnection || !canHalfOpen
}

// endsProofs reports whether an error shows that no further connection can prove itself.
func endsProofs(err error) bool {
	return errors.Is(err, preamble.ErrNotAuthentic) || localProofError(err) != nil
}

// localProofError returns the error of a proof that this computer could not make; nil: it
// is another error.
func localProofError(err error) error {
	var signing *SigningError
	var nonce *NonceError
	var exhausted *ExhaustedError
	var damaged *DamagedError
	switch {
	case errors.As(err, &signing), errors.As(err, &nonce), errors.As(err, &exhausted), errors.As(err, &damaged):
		return err
	}
	return nil
}

// Prepare makes the next preamble in the background, so that neither the record of its
// nonce nor a slow signer costs the connection time.
func (p *ConnProver) Prepare(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ahead == nil {
		p.ahead = p.begin(ctx)
	}
}

// begin begins to make a preamble. The caller holds mu.
func (p *ConnProver) begin(ctx context.Context) *readyPreamble {
	r := &readyPreamble{made: make(chan struct{})}
	failed := p.failed
	go func() {
		defer close(r.made)
		var nonce uint32
		if nonce, r.err = p.nonces.reserveProof(ctx, p.profile.Identifier.String(), p.opened, failed); r.err != nil {
			return
		}
		r.at = p.now()
		r.client, r.err = preamble.NewClient(p.service, p.profile.Identifier, uint32(r.at.Unix()), nonce, p.mac(ctx))
	}()
	return r
}

// mac returns the MAC of the profile's secret.
func (p *ConnProver) mac(ctx context.Context) preamble.MAC {
	return func(message []byte) (MAC, error) {
		macs, err := p.profile.Sign(ctx, message)
		if err != nil {
			return MAC{}, err
		}
		return macs[0], nil
	}
}

// take returns a preamble that is new enough.
func (p *ConnProver) take(ctx context.Context) (*preamble.Client, error) {
	p.mu.Lock()
	ahead := p.ahead
	p.ahead = nil
	p.mu.Unlock()
	if ahead != nil {
		if err := ahead.wait(ctx); err != nil {
			return nil, err
		}
		age := p.now().Sub(ahead.at)
		if ahead.err == nil && age >= 0 && age <= preambleAge {
			return ahead.client, nil
		}
		// Its nonce is lost. An error may be of the one who prepared it.
	}
	p.mu.Lock()
	r := p.begin(ctx)
	p.mu.Unlock()
	// Its age does not matter: a signer that is slow now is slow each time.
	if err := r.wait(ctx); err != nil {
		return nil, err
	}
	return r.client, r.err
}

// wait waits until the preamble is made. It returns the error of ctx.
func (r *readyPreamble) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.made:
		return nil
	}
}

// Prove proves a connection, of which nothing was sent or read. When it returns nil, the
// bytes in both directions are the service's. Otherwise the caller closes the connection:
// the error is preamble.ErrNotAuthentic if another program than the server answered, a
// SigningError, an error of the nonce file, that of ctx, or that of the network, if the
// server did not accept the preamble, or did not answer.
func (p *ConnProver) Prove(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := p.prove(ctx, conn)
	stopped := !stop()
	p.mu.Lock()
	if p.failed++; err == nil {
		p.failed = 0
	}
	p.mu.Unlock()
	if stopped && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (p *ConnProver) prove(ctx context.Context, conn net.Conn) error {
	c, err := p.take(ctx)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(preambleTime)); err != nil {
		return fmt.Errorf("prove the connection: %w", err)
	}
	first := c.Preamble()
	var answer [preamble.AnswerSize]byte
	if _, err = conn.Write(first[:]); err == nil {
		_, err = io.ReadFull(conn, answer[:])
	}
	switch {
	case errors.Is(err, io.EOF): // not the end of a service: that has no byte yet
		return fmt.Errorf("%w: %v", errUnproved, err)
	case err != nil:
		return fmt.Errorf("%w: %w", errUnproved, err)
	}
	proof, err := c.Answer(answer[:])
	if err != nil {
		return err
	}
	if _, err := conn.Write(proof[:]); err != nil {
		return fmt.Errorf("%w: %w", errUnproved, err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return conn.SetDeadline(time.Time{})
}
