package client

import (
	"cmp"
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

// Challenge is a client's configuration for an operation of a server, which it
// requests by the challenge–response protocol.
type Challenge struct {
	Operation         *exchange.Operation
	Request, Response challenge.Encoding
	// Service is the service that the operation opens, as in Profile. With a random
	// port, it is not used.
	Service string
}

// Check returns an error if the fields do not fit together.
func (c Challenge) Check() error {
	for _, v6 := range []bool{false, true} {
		if _, _, err := c.codecs(v6); err != nil {
			return err
		}
	}
	if c.Service == "" {
		return nil
	}
	_, err := ParseService(c.Service)
	return err
}

func (c Challenge) codecs(v6 bool) (requests, responses *challenge.Codec, err error) {
	if c.Operation == nil {
		return nil, nil, errors.New("the operation is missing")
	}
	// Only the server knows on which ports it receives.
	any := challenge.Ports{First: 1, Last: schedule.MaxPort}
	plan := challenge.Plan{Request: c.Request, Response: c.Response, Ports: any}
	return plan.Codecs(c.Operation.RequestSize(v6), exchange.ResponseSize)
}

// ExchangeConfig is the configuration of Exchange. Server, Challenge and Random are
// required.
type ExchangeConfig struct {
	Server    string
	Challenge Challenge
	Service   string        // to watch, in place of the challenge's; empty: the challenge's
	Attempts  int           // 0: DefaultAttempts
	Timeout   time.Duration // for the challenge, and then for the service; 0: DefaultTimeout
	Family    Family
	Keep      bool  // return the connection to the service
	Watch     Watch // as in Config
	// CheckBefore is as in Config. Exchange ignores it for a random port.
	CheckBefore bool
	Random      io.Reader
	Report      func(Event) // receives each step; may be nil
}

// Requested: the client sent a request.
type Requested struct {
	Attempt int
	Address netip.Addr
	Packets int
	First   uint16 // the lowest port of requests
	Last    uint16 // the highest port of requests
}

// Answered: the client received the challenge and sent the response.
type Answered struct {
	Public  netip.Addr // this computer's address, as seen by the server
	Packets int
	Took    time.Duration // from the request's last packet to the challenge
}

func (Requested) isEvent() {}
func (Answered) isEvent()  {}

// Exchange requests an operation and responds to the challenge, until the service
// answers. A random port accepts only one connection: Exchange returns it with Keep,
// and does not connect without Keep. It returns an OfflineError if all attempts
// failed, a ResolveError, or the error of ctx.
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
	service := cmp.Or(cfg.Service, cfg.Challenge.Service)
	targets, err := resolve(ctx, Profile{Server: cfg.Server, Service: service}, cfg.Family)
	if err != nil {
		return Result{}, err
	}
	cfg.Report(resolved(cfg.Server, targets))
	var found exchangeFindings
	for attempt := 1; attempt <= cfg.Attempts; attempt++ {
		if attempt > 1 {
			if err := pause(ctx, cfg.Random); err != nil {
				return Result{}, err
			}
		}
		var unsent []error
		for i, t := range targets {
			timeout := cfg.Timeout
			if i < len(targets)-1 {
				timeout = min(timeout, otherAddressTime)
			}
			result, err := cfg.attempt(ctx, t, attempt, timeout, &found)
			switch {
			case err == nil:
				return result, nil
			case ctx.Err() != nil:
				return Result{}, ctx.Err()
			case isSendError(err):
				unsent = append(unsent, err)
			}
			cfg.Report(Unanswered{Attempt: attempt, Address: t.knock, Service: result.Service, Err: err})
		}
		if len(unsent) == len(targets) {
			err := errors.Join(unsent...)
			return Result{}, &OfflineError{
				Server: cfg.Server, Attempts: attempt, Hints: []string{sendHint(err)}, err: err, unsent: true,
			}
		}
		if closedByProgram(found.service) || attempt >= enoughAttempts && found.letIn() {
			return Result{}, found.offline(cfg, attempt)
		}
	}
	return Result{}, found.offline(cfg, cfg.Attempts)
}

// otherAddressTime is how long a challenge may take before the client goes on to the
// next address of the server.
const otherAddressTime = time.Second

// The pause between attempts is longer than a server keeps an incomplete request. It
// is random, since two clients behind one address disturb each other if their NAT
// gives each packet another source port.
const (
	minPause    = 1200 * time.Millisecond
	randomPause = 800 * time.Millisecond // the maximum that is added
)

func pause(ctx context.Context, random io.Reader) error {
	more, err := rand.Int(random, big.NewInt(int64(randomPause)))
	if err != nil {
		return fmt.Errorf("draw a pause: %w", err)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(minPause + time.Duration(more.Int64())):
		return nil
	}
}

// attempt makes one exchange, with a new socket. If the service did not answer, the
// result has its address.
func (cfg ExchangeConfig) attempt(ctx context.Context, t target, n int, timeout time.Duration, found *exchangeFindings) (Result, error) {
	requests, responses, err := cfg.Challenge.codecs(t.knock.Is6())
	if err != nil {
		return Result{}, err
	}
	s, err := newExchangeConn(t.knock)
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
	var early *earlyConn
	before := Config{CheckBefore: cfg.CheckBefore, Keep: cfg.Keep}
	watched := t.watched() && cfg.Watch != WatchNone
	if n == 1 && before.checksBefore() && watched && !cfg.Challenge.Operation.RandomPort() {
		early = beginEarly(t.service)
		defer early.close()
	}
	if err := s.sendMessage(ctx, requests, c.Request()); err != nil {
		return Result{}, &sendError{err}
	}
	cfg.Report(Requested{n, t.knock, requests.Packets(), requests.First(), requests.Last()})
	requested := time.Now()
	answer, err := s.awaitChallenge(c, timeout, found)
	if err != nil {
		return Result{}, err
	}
	took := time.Since(requested)
	if err := s.sendMessage(ctx, responses, answer.Response); err != nil {
		return Result{}, &sendError{err}
	}
	cfg.Report(Answered{answer.Public, responses.Packets(), took})
	again := func() {}
	// The server ignores duplicates of these packets. With the other schemes, their order
	// matters.
	if scheme := cfg.Challenge.Response.Scheme; scheme == challenge.Sequence || scheme == challenge.Ranges {
		again = func() { s.sendMessage(ctx, responses, answer.Response) }
	}
	result := Result{Address: t.knock, Service: t.service, UDP: t.udp, Attempts: n}
	if answer.Port != 0 {
		result.Service, result.SingleUse, result.UDP = netip.AddrPortFrom(t.knock, answer.Port), true, false
		watched = true
	}
	if !watched || result.SingleUse && !cfg.Keep {
		// The response needs time to arrive.
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-time.After(took + openTime):
			again()
			return result, nil
		}
	}
	timer := time.AfterFunc(took+responseTime, again)
	defer timer.Stop()
	seen := watcher{
		service: result.Service, timeout: cfg.Timeout, early: early, earlier: found.before,
		halfOpen: !cfg.Keep && cfg.Watch != WatchConnection,
	}.wait(ctx)
	if seen.err != nil {
		found.at, found.service, found.before = result.Service, seen.err, seen.before
		return Result{Service: result.Service}, seen.err
	}
	result.Watched, result.OpenBefore = true, seen.before == beforeOpen && cfg.CheckBefore
	if result.Conn = seen.conn; !cfg.Keep {
		seen.conn.closeInOrder()
		seen.settle(ctx)
		result.Conn = nil
	}
	return result, nil
}

// responseTime is how long the service may take to answer before the client sends the
// response again.
const responseTime = 300 * time.Millisecond

// openTime is how long a server may need to open a port.
const openTime = 50 * time.Millisecond

// exchangeFindings collects the observations of all attempts.
type exchangeFindings struct {
	forged     int            // challenges that were not authentic
	challenged int            // authentic challenges
	at         netip.AddrPort // the service of the last attempt
	service    error          // of the last attempt to connect to the service
	before     before         // what the service did before the request
}

func (e exchangeFindings) offline(cfg ExchangeConfig, attempts int) error {
	return &OfflineError{
		Server: cfg.Server, Service: e.at, Attempts: attempts, Up: e.challenged > 0,
		Hints: e.hints(cfg), err: e.service, opened: closedByProgram(e.service) || e.letIn(),
	}
}

// letIn is as for findings.
func (e exchangeFindings) letIn() bool {
	return e.challenged > 0 && refused(e.service) && e.before == beforeSilent
}

func (e exchangeFindings) hints(cfg ExchangeConfig) (hints []string) {
	add := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	id := cfg.Challenge.Operation.ID()
	other := otherService(cfg.Server, cfg.Challenge.Service, cfg.Service)
	switch {
	case e.challenged == 0 && e.forged > 0:
		add("%d challenges were not authentic: "+
			"the secret or the algorithm of operation %q differs from the server's, "+
			"or an attacker sent them", e.forged, id)
	case e.challenged == 0:
		add("the client received no challenge: the server does not have operation %q, "+
			"does not allow it from this address, uses other encodings or ports, or does not run; "+
			"or a firewall blocks UDP to ports %d and above, or the challenge", id, cfg.Challenge.Request.Base)
	case closedByProgram(e.service):
		add("%s accepts connections, and closes them at once: the program behind it does not run, "+
			"or does not serve this computer", e.at)
	case e.letIn():
		add("%s did not answer before the request, and refuses connections since: "+
			"the server lets this computer in, but no program listens on port %d", e.at, e.at.Port())
	case e.service != nil:
		if other != "" {
			add("connections to %s fail. The service of the profile is %s: "+
				"does operation %q open port %d?", e.at, other, id, e.at.Port())
		}
		add("the client responded to %d challenges, but connections to %s fail (%v): the responses were lost, "+
			"the secret differs from the server's, this computer connects from another address than it sends "+
			"packets from, or the program behind the service does not run",
			e.challenged, e.at, innermost(e.service))
	}
	return hints
}
