package client

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// MAC is an HMAC-SHA256.
type MAC = [wire.MACSize]byte

// Signer computes HMACs under the secret of a client, which it does not reveal: a program
// or a device may hold it. It is safe for concurrent use, and retains no message.
//
// All that a client sends under its secret goes through a Signer: the knocks of a
// sequence, the number of bind = "isn", and the messages of package verify/preamble.
type Signer interface {
	// Sign returns the MACs of the messages, in their order. It may take as long as a
	// person needs to touch a device. The error has no secret in it.
	Sign(ctx context.Context, messages ...[]byte) ([]MAC, error)
}

// SecretSigner is the Signer of a secret that is in memory.
type SecretSigner []byte

// Sign implements Signer. It always succeeds.
func (s SecretSigner) Sign(_ context.Context, messages ...[]byte) ([]MAC, error) {
	macs := make([]MAC, len(messages))
	h := hmac.New(sha256.New, s)
	for i, m := range messages {
		h.Reset()
		h.Write(m)
		h.Sum(macs[i][:0])
	}
	return macs, nil
}

// SigningError is the error of a Signer. The client has sent nothing of what it would
// have signed.
type SigningError struct {
	err    error
	unsent bool
}

// Unsent reports whether the call has sent nothing at all: the secret or the key was
// missing from the beginning.
func (e *SigningError) Unsent() bool { return e.unsent }

func (e *SigningError) Error() string {
	return fmt.Sprintf("sign with the client's %s: %v", e.by(), e.err)
}

// by names the secret, or the private key of an operation with public keys.
func (e *SigningError) by() string {
	if errors.As(e.err, new(*keyError)) {
		return "private key"
	}
	return "secret"
}

// keyError is the error of a KeySigner.
type keyError struct{ error }

func (e *keyError) Unwrap() error { return e.error }

func (e *SigningError) Unwrap() error { return e.err }

// maxLate is how often the client signs a sequence again, at most, because its minute
// ended before the signer did.
const maxLate = 2

// sign makes the knocks of a sequence, and the initial sequence number of connections
// after it; 0: the kernel chooses it. It changes nothing but the sequence.
func (k *knocking) sign(ctx context.Context, q *signed) {
	s := signing{numbered: k.cfg.Profile.Bind == BindISN && k.cfg.Keep, closes: k.cfg.closes}
	for i := 0; ; i++ {
		if q.stamp = k.cfg.Now(); q.seq.previous {
			q.stamp = lastSecond(schedule.MinuteOf(q.stamp))
		}
		q.knocks, q.isn, q.err = signSequence(ctx, k.cfg.Profile, q.stamp, q.base, s)
		// A signer may take until another minute, as for a touch. The nonces are unused.
		if q.err != nil || q.seq.previous || schedule.MinuteOf(k.cfg.Now()) == schedule.MinuteOf(q.stamp) || i == maxLate {
			return
		}
	}
}

// Sign returns the MACs of messages under the secret of the profile. The error is that of
// ctx, or a SigningError.
func (p Profile) Sign(ctx context.Context, messages ...[]byte) ([]MAC, error) {
	var s Signer = SecretSigner(p.Secret)
	if p.Signer != nil {
		s = p.Signer
	}
	macs, err := s.Sign(ctx, messages...)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, &SigningError{err: err}
	case len(macs) != len(messages):
		return nil, &SigningError{err: fmt.Errorf("expected %d HMACs, got %d", len(messages), len(macs))}
	}
	return macs, nil
}
