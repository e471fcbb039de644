package client

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/verify/challenge/exchange"
)

// slowKey is a KeySigner that takes a time, or as long as its context.
type slowKey struct {
	takes time.Duration
	err   error // of Prepare
}

func (k slowKey) Prepare(context.Context) error { return k.err }

func (k slowKey) Sign(ctx context.Context, _ []byte) ([]byte, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(k.takes):
		return make([]byte, exchange.SignatureSize), nil
	}
}

// signedOperation is an operation with public keys, as a client has it.
func signedOperation(t *testing.T) *exchange.Operation {
	t.Helper()
	o, err := exchange.DescribeOperation("web-alice", exchange.Mutual, false)
	if err == nil {
		o, err = o.WithHost(exchange.HostPublic{9}, exchange.PublicKey{Key: [32]byte{1}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestSignTime: a key has the time in which a server waits for the response, by each
// carrier. One that takes longer is an error, with a hint.
func TestSignTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Challenge{Operation: signedOperation(t)}
		for _, test := range []struct {
			by    Carrier
			limit time.Duration
		}{{CarrierPackets, 10 * time.Second}, {CarrierHTTPS, 30 * time.Second}, {CarrierDNS, 30 * time.Second}} {
			a := exchange.Answer{ToSign: []byte("data")}
			c.Key = slowKey{takes: test.limit - time.Second}
			if err := c.sign(t.Context(), &a, test.by); err != nil || len(a.Response) != exchange.SignatureSize {
				t.Errorf("%q: %v", test.by, err)
			}
			begun := time.Now()
			a = exchange.Answer{ToSign: []byte("data")}
			c.Key = slowKey{takes: time.Hour}
			err := c.sign(t.Context(), &a, test.by)
			var signing *SigningError
			if !errors.As(err, &signing) || signing.Unsent() || time.Since(begun) != test.limit || a.Response != nil ||
				!strings.Contains(err.Error(), "private key: expected the signature within "+test.limit.String()) {
				t.Errorf("%q: %v after %s", test.by, err, time.Since(begun))
			}
			var h interface{ Hint() string }
			if !errors.As(err, &h) || !strings.Contains(h.Hint(), "touch the security key") {
				t.Errorf("%q: no hint", test.by)
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if err := c.sign(ctx, &a, test.by); err != context.Canceled {
				t.Errorf("%q, interrupted: %v", test.by, err)
			}
		}
	})
}

// TestUnsent: an error of a key before anything is sent shows that; and not if another way
// has sent before.
func TestUnsent(t *testing.T) {
	refused := errors.New("no key")
	var signing *SigningError
	c := Challenge{Operation: signedOperation(t), Key: slowKey{err: refused}}
	if _, err := c.keyed(t.Context()); !errors.As(err, &signing) || !signing.Unsent() || !errors.Is(err, refused) {
		t.Error(err)
	}
	c.Key = nil
	if _, err := c.keyed(t.Context()); !errors.As(err, &signing) || !signing.Unsent() || !errors.Is(err, errNoKey) {
		t.Error(err)
	}
	keyed := func(ctx context.Context) (Result, error) {
		_, err := c.keyed(ctx)
		return Result{}, err
	}
	silent := func(context.Context) (Result, error) { return Result{}, &OfflineError{Reason: ReasonNoAnswer} }
	for _, first := range []bool{true, false} {
		ways := []byWay{{CarrierHTTPS, keyed}}
		if !first {
			ways = slices.Insert(ways, 0, byWay{CarrierPackets, silent})
		}
		choice := choice{ways: ways, report: func(Event) {}, now: time.Now}
		if _, err := choice.run(t.Context()); !errors.As(err, &signing) || signing.Unsent() != first {
			t.Errorf("first %v: %v", first, err)
		}
	}
}

// TestKeyHints: the causes of a failure name keys, and no secret.
func TestKeyHints(t *testing.T) {
	cfg := ExchangeConfig{Challenge: Challenge{Operation: signedOperation(t)}}
	for _, c := range []struct {
		found exchangeFindings
		by    Carrier
		want  string
	}{
		{exchangeFindings{forged: 1}, CarrierPackets, "the host key in the profile is not that of the server"},
		{exchangeFindings{challenged: 1, service: errors.New("silent")}, CarrierPackets, keyRemoved},
		{exchangeFindings{challenged: 1, service: errors.New("silent")}, CarrierHTTPS, keyRemoved},
	} {
		d := c.found.diagnose(cfg, c.by, false)
		if text := strings.Join(d.hints(), "\n"); !strings.Contains(text, c.want) || strings.Contains(text, "secret") {
			t.Errorf("got %s\nwant %s", text, c.want)
		}
	}
}
