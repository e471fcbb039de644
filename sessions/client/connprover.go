package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"sallyport/verify/preamble"
)

const (
	// answerTime is how long the server may take for its answer: it resets a connection
	// after serverTime.
	answerTime = 5 * time.Second
	// serverTime is how long a server waits for the whole proof, from the moment in which
	// it has accepted the connection.
	serverTime = 3 * time.Second
	// preambleAge is how old a preamble may be that is sent: the server compares its
	// timestamp.
	preambleAge = 5 * time.Second
)

// errUnproved is the error of a connection that the server has ended after the preamble.
var errUnproved = errors.New("the server did not accept the preamble of the connection")

// errNoProver is the error of an exchange for a service with BindConnection.
var errNoProver error = noProverError{}

type noProverError struct{}

func (noProverError) Error() string {
	return fmt.Sprintf("profile: bind = %q requires an identifier and a secret of the client, beside the operation", BindConnection)
}

// Hint returns what to do.
func (noProverError) Hint() string { return NoProverHint }

// NoProverHint is what to do with a profile that has only the operation of a service with
// BindConnection.
const NoProverHint = "ask the server's administrator for a profile that has the keys of the client, too (sallyportd operation profile ID --with-client)"

// errProved marks the end of a connection that has proved itself: it was no stranger's.
var errProved = errors.New("the server had accepted its proof")

// errNotChosen is the error of a connection whose server has proved itself after that of
// another one.
var errNotChosen = errors.New("another connection was first")

// ConnProver proves connections to a service with BindConnection, by the handshake of
// package preamble. Each connection uses one nonce of the client. It is safe for
// concurrent use.
type ConnProver struct {
	profile Profile
	service string // as the server names it
	nonces  NonceFile
	now     func() time.Time

	opened   uint64       // the nonce after those that have opened the service; 0: as in the file
	rejected atomic.Int32 // preambles that the server has rejected since it accepted one
}

// Proof is the proof of one connection. Its preamble is made.
type Proof struct {
	prover *ConnProver
	client *preamble.Client
	made   time.Time
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

// Prepare makes the preamble of a connection. Its nonce is on stable storage then. The
// caller connects afterwards: so neither the record nor a slow signer takes of the time in
// which the server expects the proof. The error is a SigningError, one of the nonce file,
// or that of ctx.
func (p *ConnProver) Prepare(ctx context.Context) (*Proof, error) {
	nonce, err := p.nonces.reserveProof(ctx, p.profile.Identifier.String(), p.opened, int(p.rejected.Load()))
	if err != nil {
		return nil, err
	}
	f := &Proof{prover: p}
	// A signer may take long the first time only, as for a PIN. The nonce is unused.
	for range 2 {
		stamp := p.now()
		f.client, err = preamble.NewClient(p.service, p.profile.Identifier, uint32(stamp.Unix()), nonce, p.mac(ctx))
		if err != nil {
			return nil, err
		}
		if f.made = p.now(); f.made.Sub(stamp) <= preambleAge {
			break
		}
	}
	return f, nil
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

// Prove proves a connection, of which nothing was sent or read. The caller calls it once.
// When it returns nil, the bytes in both directions are the service's. Otherwise the
// caller closes the connection: the error is preamble.ErrNotAuthentic if another program
// than the server answered, a SigningError, an error of the nonce file, that of ctx, or
// that of the network, if the server did not accept the preamble, or did not answer.
func (f *Proof) Prove(ctx context.Context, conn net.Conn) error {
	return f.prove(ctx, conn, func() bool { return true })
}

// prove is Prove for one of several connections. When the server has proved itself, choose
// reports whether this connection is the one that gets the proof; otherwise the error is
// errNotChosen, and the server has passed no byte.
func (f *Proof) prove(ctx context.Context, conn net.Conn, choose func() bool) error {
	begun := time.Now()
	if age := f.prover.now().Sub(f.made); age < 0 || age > preambleAge { // its nonce is lost
		another, err := f.prover.Prepare(ctx)
		if err != nil {
			return err
		}
		f.client = another.client
	}
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return fmt.Errorf("prove the connection: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := f.handshake(conn, begun, choose)
	switch {
	case !stop() && ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		f.prover.rejected.Store(0)
		return conn.SetDeadline(time.Time{})
	case errors.Is(err, errUnproved) && !timedOut(err):
		f.prover.rejected.Add(1)
	}
	return err
}

// handshake is the exchange of a connection that has begun at a time.
func (f *Proof) handshake(conn net.Conn, begun time.Time, choose func() bool) error {
	first := f.client.Preamble()
	var answer [preamble.AnswerSize]byte
	_, err := conn.Write(first[:])
	if err == nil {
		_, err = io.ReadFull(conn, answer[:])
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // not the end of a service: that has no byte yet
		return fmt.Errorf("%w: %v", errUnproved, err)
	case err != nil:
		return fmt.Errorf("%w: %w", errUnproved, err)
	}
	answered := time.Now()
	proof, err := f.client.Answer(answer[:])
	signing := time.Since(answered)
	switch {
	case err != nil:
		return err
	case time.Since(begun) >= serverTime && signing >= serverTime/2:
		return &SigningError{err: &slowError{signing}}
	case !choose():
		return errNotChosen
	}
	if _, err := conn.Write(proof[:]); err != nil {
		return fmt.Errorf("%w: %w", errUnproved, err)
	}
	return nil
}

// slowError is the error of a signer that is too slow for a proof.
type slowError struct{ took time.Duration }

func (e *slowError) Error() string {
	return fmt.Sprintf("expected the two HMACs for a connection within %s, since the server waits no longer, got them after %s",
		serverTime, e.took.Round(100*time.Millisecond))
}

// Hint returns what to do.
func (e *slowError) Hint() string {
	return "bind = \"" + string(BindConnection) + "\" requires three HMACs for each connection, two of them at once: use a device that needs no touch for each, or let secret_command hold the secret"
}
