package client

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/verify/wire"
)

// external is a Signer that is asked once for each sequence.
type external struct {
	secret SecretSigner
	calls  int
	wait   func()
	err    error
	short  bool
}

func (e *external) Sign(ctx context.Context, messages ...[]byte) ([]MAC, error) {
	e.calls++
	if e.wait != nil {
		e.wait()
	}
	macs, _ := e.secret.Sign(ctx, messages...)
	if e.short {
		macs = macs[1:]
	}
	return macs, e.err
}

// TestSigner: a signer makes the packets and the number of the secret that it holds.
func TestSigner(t *testing.T) {
	p := profile()
	want, err := Sequence(p, now, 7)
	if err != nil {
		t.Fatal(err)
	}
	s := &external{secret: p.Secret}
	p.Signer, p.Secret = s, nil
	if err := p.validate(); err != nil {
		t.Fatal(err)
	}
	got, isn, err := signSequence(t.Context(), p, now, 7, signing{numbered: true})
	if err != nil || !reflect.DeepEqual(got, want) || isn != wire.ISNOfAttempt(s.secret, p.Identifier, 7) || s.calls != 1 {
		t.Errorf("%x, %d, %v in %d calls; expected %x", got, isn, err, s.calls, want)
	}
	closing, _ := ClosingSequence(p, now, 7)
	p.Signer, p.Secret = nil, s.secret
	if want, _ := ClosingSequence(p, now, 7); !reflect.DeepEqual(closing, want) || reflect.DeepEqual(closing, got) {
		t.Errorf("closing: %x; expected %x", closing, want)
	}
	p.Signer, p.Secret = s, nil
	var failed *SigningError
	s.err = errors.New("no key")
	if _, err := Sequence(p, now, 7); !errors.As(err, &failed) || !strings.HasSuffix(err.Error(), "secret: no key") {
		t.Error(err)
	}
	s.err, s.short = nil, true
	if _, err := Sequence(p, now, 7); !errors.As(err, &failed) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := signSequence(ctx, p, now, 7, signing{}); err != ctx.Err() {
		t.Error(err)
	}
	p.Signer = nil
	if err := p.validate(); err == nil {
		t.Error("a profile without a secret is valid")
	}
}

// TestLateSigner: if the minute ends before the signer does, the knocks that are sent are
// of the new minute, and have the same nonces.
func TestLateSigner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := profile()
		s := &external{secret: p.Secret}
		s.wait = func() {
			if s.calls == 1 {
				time.Sleep(time.Minute)
			}
		}
		p.Signer, p.Secret = s, nil
		k := &knocking{cfg: Config{Profile: p, Now: time.Now}}
		q := &signed{seq: sequence{attempt: 1}, base: 7}
		k.sign(t.Context(), q)
		if q.err != nil || s.calls != 2 || time.Since(q.stamp) != 0 {
			t.Fatalf("%d calls, stamp %s, %v", s.calls, q.stamp, q.err)
		}
		p.Signer, p.Secret = nil, s.secret
		if want, _ := Sequence(p, q.stamp, 7); !reflect.DeepEqual(q.knocks, want) {
			t.Errorf("%x; expected %x", q.knocks, want)
		}
	})
}

// TestSigningError: the text names the secret or the private key.
func TestSigningError(t *testing.T) {
	refused := errors.New("refused")
	for want, err := range map[string]error{
		"sign with the client's secret: refused":      &SigningError{err: refused},
		"sign with the client's private key: refused": &SigningError{err: &keyError{refused}},
	} {
		if err.Error() != want || !errors.Is(err, refused) {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}
