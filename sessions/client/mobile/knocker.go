package mobile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
)

// Knocker opens the service of a profile. Its methods may be called from any thread; a
// setting is for the next call of Knock or Stay.
type Knocker struct {
	profile client.Profile
	nonces  client.NonceFile // without a path, if the profile has no sequence protocol

	mu        sync.Mutex
	listener  Listener
	family    client.Family
	timeout   time.Duration
	attempts  int
	challenge bool               // by the challenge–response protocol
	cancel    context.CancelFunc // of the call that runs; nil: none runs

	changed chan struct{} // receives calls of NetworkChanged
}

// NewKnocker returns a Knocker. stateDir is a directory of the app, which Knock makes if
// it does not exist; see the documentation of the package.
func NewKnocker(profile *Profile, stateDir string) (*Knocker, error) {
	switch {
	case profile == nil:
		return nil, errors.New("the profile is missing")
	case profile.CountGateways() > 0:
		return nil, errors.New("expected the profile of one server, got one with gateways: Gateway returns that of each")
	case !filepath.IsAbs(stateDir):
		return nil, fmt.Errorf("expected the absolute path of a directory of the app, got %q", stateDir)
	}
	k := &Knocker{profile: profile.p, challenge: !profile.p.HasSequence(), changed: make(chan struct{}, 1)}
	if k.challenge {
		return k, nil
	}
	name, _, err := profilefile.NonceNames(context.Background(), profile.p)
	if err != nil {
		return nil, err
	}
	drawn, err := client.DrawNonce()
	if err != nil {
		return nil, err
	}
	k.nonces = client.NonceFile{Path: filepath.Join(stateDir, name), First: profile.p.FirstNonce, Drawn: drawn}
	return k, nil
}

// SetListener sets the receiver of the steps; null: there is none.
func (k *Knocker) SetListener(l Listener) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.listener = l
}

// SetAttempts sets the maximum number of attempts; 0: the default.
func (k *Knocker) SetAttempts(n int) error {
	if n < 0 {
		return fmt.Errorf("expected a number of attempts, got %d", n)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.attempts = n
	return nil
}

// SetTimeoutMillis sets how long Knock waits for the service after each attempt, in
// milliseconds; 0: the default.
func (k *Knocker) SetTimeoutMillis(ms int64) error {
	if ms < 0 || ms > time.Hour.Milliseconds() {
		return fmt.Errorf("expected a time of at most an hour in milliseconds, got %d", ms)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timeout = time.Duration(ms) * time.Millisecond
	return nil
}

// SetFamily restricts the addresses of the server to "4" or "6"; "": both.
func (k *Knocker) SetFamily(family string) error {
	switch f := client.Family(family); f {
	case client.AnyFamily, client.IPv4, client.IPv6:
		k.mu.Lock()
		defer k.mu.Unlock()
		k.family = f
		return nil
	}
	return fmt.Errorf("expected \"4\", \"6\" or nothing, got %q", family)
}

// SetChallenge chooses the challenge–response protocol, or else the sequence protocol.
// The default is the sequence protocol if the profile has it.
func (k *Knocker) SetChallenge(on bool) error {
	switch {
	case on && k.profile.Challenge == nil:
		return errors.New("the profile has no [challenge] table")
	case !on && !k.profile.HasSequence():
		return errors.New("the profile has only the challenge–response protocol")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.challenge = on
	return nil
}

// Knock knocks, and waits until the service is open or all attempts have failed. A
// service that does not open is a result, too. The error is that of a call while another
// one runs.
func (k *Knocker) Knock() (*Result, error) {
	c, err := k.begin()
	if err != nil {
		return nil, err
	}
	defer c.end()
	if c.exchange != nil {
		return resultOf(client.Exchange(c.ctx, *c.exchange)), nil
	}
	return resultOf(client.Knock(c.ctx, *c.sequence)), nil
}

// Cancel ends the call of Knock or Stay that runs, if there is one. The reason of its
// result is ReasonCancelled.
func (k *Knocker) Cancel() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cancel != nil {
		k.cancel()
	}
}

// call is a call of Knock or Stay, with the settings from when it began. One of sequence
// and exchange is nil.
type call struct {
	ctx      context.Context
	end      func()
	sequence *client.Config
	exchange *client.ExchangeConfig
	report   func(*Step)
}

// begin begins a call, unless another one runs.
func (k *Knocker) begin() (*call, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cancel != nil {
		return nil, errors.New("another call of Knock or Stay runs")
	}
	c := &call{report: reportTo(k.listener)}
	c.ctx, k.cancel = context.WithCancel(context.Background())
	c.end = func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.cancel()
		k.cancel = nil
	}
	report := func(e client.Event) {
		if s := stepOf(e); s != nil {
			c.report(s)
		}
	}
	if k.challenge {
		c.exchange = &client.ExchangeConfig{
			Server: k.profile.Server, Addresses: k.profile.Addresses, Challenge: *k.profile.Challenge,
			Attempts: k.attempts, Timeout: k.timeout, Family: k.family, Watch: k.profile.Watch,
			Random: rand.Reader, Report: report,
		}
		return c, nil
	}
	c.sequence = &client.Config{
		Profile: k.profile, Nonces: k.nonces, Attempts: k.attempts,
		Timeout: k.timeout, Family: k.family, Now: time.Now, Report: report,
	}
	return c, nil
}

// reportTo returns a function that calls a listener, one call at a time.
func reportTo(l Listener) func(*Step) {
	var mu sync.Mutex
	return func(s *Step) {
		if l != nil {
			mu.Lock()
			defer mu.Unlock()
			l.OnStep(s)
		}
	}
}
