package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// Challenge is what a client knows of an operation of a server, by the
// challenge–response protocol.
type Challenge struct {
	Operation         *exchange.Operation
	Request, Response challenge.Encoding
	// Service is Profile's, for what the operation opens. With a random port it
	// does not count.
	Service string
}

// Check says what of it cannot be.
func (c Challenge) Check() error {
	for _, v6 := range []bool{false, true} {
		if _, _, err := c.codecs(v6); err != nil {
			return err
		}
	}
	if c.Service == "" {
		return nil
	}
	_, _, err := SplitService(c.Service)
	return err
}

func (c Challenge) codecs(v6 bool) (requests, responses *challenge.Codec, err error) {
	if c.Operation == nil {
		return nil, nil, errors.New("the operation is missing")
	}
	// Which ports the server watches, only the server knows.
	any := challenge.Ports{First: 1, Last: schedule.MaxPort}
	return challenge.Plan{Request: c.Request, Response: c.Response, Ports: any}.Codecs(c.Operation.RequestSize(v6), exchange.ResponseSize)
}

// ExchangeConfig is what Exchange needs. Server, Challenge and Random are
// required.
type ExchangeConfig struct {
	Server    string
	Challenge Challenge
	Attempts  int           // 0: DefaultAttempts
	Timeout   time.Duration // for the challenge, and then for the service; 0: DefaultTimeout
	Family    Family
	Keep      bool // keep the connection that proves the service open
	Random    io.Reader
	Report    func(Event) // told what goes on; may be nil
}

// Requested says that a request has left.
type Requested struct {
	Attempt int
	Address netip.Addr
	Packets int
	First   uint16 // the lowest port that requests go to
	Last    uint16
}

// Answered says that the challenge has come, and the response has left.
type Answered struct {
	Public  netip.Addr // this computer's address as the server sees it
	Packets int
	Took    time.Duration // from the request's last packet to the challenge
}

func (Requested) isEvent() {}
func (Answered) isEvent()  {}

// Exchange asks for an operation, and answers the challenge, until the service
// answers. With a random port the only connection there is not used up by
// watching: it is kept, or left to the caller. It fails with an
// OfflineError when all attempts were in vain, or the end of ctx.
func Exchange(ctx context.Context, cfg ExchangeConfig) (Result, error) {
	if err := cfg.Challenge.Check(); err != nil {
		return Result{}, fmt.Errorf("profile: challenge: %w", err)
	}
	if cfg.Report == nil {
		cfg.Report = func(Event) {}
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = DefaultAttempts
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	targets, err := resolve(ctx, Profile{Server: cfg.Server, Service: cfg.Challenge.Service}, cfg.Family)
	if err != nil {
		return Result{}, err
	}
	var seen exchanged
	for attempt := 1; attempt <= cfg.Attempts; attempt++ {
		if attempt > 1 {
			if err := pause(ctx, cfg.Random); err != nil {
				return Result{}, err
			}
		}
		t := rotated(targets, attempt-1)[0]
		result, err := cfg.attempt(ctx, t, attempt, &seen)
		var sending *sendError
		switch {
		case err == nil:
			return result, nil
		case ctx.Err() != nil:
			return Result{}, ctx.Err()
		case errors.As(err, &sending) && attempt >= len(targets):
			return Result{}, &OfflineError{Server: cfg.Server, Attempts: attempt, Hints: []string{hintSend(err)}, err: err}
		}
	}
	return Result{}, &OfflineError{Server: cfg.Server, Attempts: cfg.Attempts, Hints: seen.hints(cfg), err: seen.service}
}

// Pauses between attempts: longer than a server keeps half a request, and not
// the same for two clients behind one address, which disturb each other if
// their NAT gives each packet another port.
const (
	leastPause = 1200 * time.Millisecond
	morePause  = 800 * time.Millisecond
)

func pause(ctx context.Context, random io.Reader) error {
	more, err := rand.Int(random, big.NewInt(int64(morePause)))
	if err != nil {
		return fmt.Errorf("draw a pause: %w", err)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(leastPause + time.Duration(more.Int64())):
		return nil
	}
}

// attempt is one exchange, with a socket of its own.
func (cfg ExchangeConfig) attempt(ctx context.Context, t target, n int, seen *exchanged) (Result, error) {
	requests, responses, err := cfg.Challenge.codecs(t.knock.Is6())
	if err != nil {
		return Result{}, err
	}
	s, err := dialKnocks(t.knock)
	if err != nil {
		return Result{}, &sendError{err}
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	var nonce [exchange.NonceSize]byte
	if _, err := io.ReadFull(cfg.Random, nonce[:]); err != nil {
		return Result{}, fmt.Errorf("draw a nonce: %w", err)
	}
	c, err := exchange.NewInitiator(cfg.Challenge.Operation, s.self, t.knock, nonce)
	if err != nil {
		return Result{}, err
	}
	if err := s.say(ctx, requests, c.Request()); err != nil {
		return Result{}, &sendError{err}
	}
	cfg.Report(Requested{n, t.knock, requests.Packets(), requests.First(), requests.Last()})
	asked := time.Now()
	answer, err := s.await(c, cfg.Timeout, seen)
	if err != nil {
		return Result{}, err
	}
	took := time.Since(asked)
	if err := s.say(ctx, responses, answer.Response); err != nil {
		return Result{}, &sendError{err}
	}
	cfg.Report(Answered{answer.Public, responses.Packets(), took})
	result := Result{Address: t.knock, Service: t.service, Attempts: n}
	if answer.Port != 0 {
		result.Service, result.Once = netip.AddrPortFrom(t.knock, answer.Port), true
	}
	if !result.Service.IsValid() {
		return result, nil
	}
	if result.Once && !cfg.Keep {
		// The response is still on its way.
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-time.After(took + openTime):
			return result, nil
		}
	}
	conn, err := watch(ctx, result.Service, cfg.Timeout)
	if err != nil {
		seen.service = err
		return Result{}, err
	}
	if result.Conn = conn; !cfg.Keep {
		conn.Close()
		result.Conn = nil
	}
	return result, nil
}

// openTime is what a server may need to open a port.
const openTime = 50 * time.Millisecond

// sendError says that packets could not leave.
type sendError struct{ error }

func (e *sendError) Unwrap() error { return e.error }

// exchanged is what all attempts together have shown.
type exchanged struct {
	forged     int // challenges that were not authentic
	challenged int
	service    error
}

func (e exchanged) hints(cfg ExchangeConfig) (hints []string) {
	add := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	switch {
	case e.challenged == 0 && e.forged > 0:
		add("%d challenges came that are not the server's, by this profile: the secret or the algorithm of operation %q is not the server's own, or somebody else answers", e.forged, cfg.Challenge.Operation.ID())
	case e.challenged == 0:
		add("no challenge came: the server does not know operation %q or not from here, has other encodings or ports, or does not run; or a firewall on the way stops UDP to ports %d and above, or what comes back", cfg.Challenge.Operation.ID(), cfg.Challenge.Request.Base)
	case e.service != nil:
		add("%d challenges were answered, but the service did not open: the responses were lost, the secret is not the server's own, or this computer connects from another address than it knocks from: %v", e.challenged, e.service)
	}
	return hints
}
