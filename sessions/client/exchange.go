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
	"slices"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// Challenge is a client's configuration for an operation of a server, which it
// requests by the challenge–response protocol.
type Challenge struct {
	Operation *exchange.Operation
	// Secret returns the operation's secret, if Operation has no keys. A program may
	// have to ask a person for it. The keys are derived in memory: unlike a client's
	// secret, an operation's cannot stay in a device that only computes HMACs.
	Secret            func(context.Context) (string, error)
	Request, Response challenge.Encoding
	SharedPorts       bool // requests and responses may have ports in common
	// AnswerPort: the packets of requests and responses are SYNs, and the client
	// fetches the challenge from this TCP port. 0: they are empty UDP packets, and the
	// challenge is one too.
	AnswerPort uint16
	// Service is the service that the operation opens, as in Profile. With a random
	// port, it is not used.
	Service string
	Bind    Bind // what the server binds the connection to Service to
	// ServiceName is that of a Profile.
	ServiceName string
	// OpenFor is how long the operation opens; 0: that is not known, or it has no end.
	OpenFor   time.Duration
	Handshake Handshake // what a completed handshake with Service proves
}

// Check returns an error if the fields do not fit together: the messages must fit
// the encodings over IPv4 or over IPv6.
func (c Challenge) Check() error {
	requests, responses, err := c.codecs(false)
	if _, _, err6 := c.codecs(true); err != nil && err6 != nil {
		return err
	}
	if c.AnswerPort != 0 && err == nil && (requests.Ports().Contains(c.AnswerPort) || responses.Ports().Contains(c.AnswerPort)) {
		return fmt.Errorf("answer_port %d is one of the ports of requests, %s, or of responses, %s", c.AnswerPort, requests.Ports(), responses.Ports())
	}
	if c.OpenFor < 0 {
		return fmt.Errorf("expected a time above 0 for which the operation opens, got %s", c.OpenFor)
	}
	if err := c.Bind.check(c.Service, c.ServiceName); err != nil {
		return err
	}
	if err := c.Handshake.check(c.Service); err != nil {
		return err
	}
	if c.Service == "" {
		return nil
	}
	_, err = ParseService(c.Service)
	return err
}

// keyed returns the operation with its keys.
func (c Challenge) keyed(ctx context.Context) (*exchange.Operation, error) {
	if c.Secret == nil {
		return c.Operation, nil
	}
	secret, err := c.Secret(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, &SigningError{err}
	}
	return c.Operation.WithSecret(secret)
}

func (c Challenge) codecs(v6 bool) (requests, responses *challenge.Codec, err error) {
	if c.Operation == nil {
		return nil, nil, errors.New("the operation is missing")
	}
	// Only the server knows on which ports it receives.
	any := challenge.Ports{First: 1, Last: schedule.MaxPort}
	plan := challenge.Plan{Request: c.Request, Response: c.Response, Ports: any, Shared: c.SharedPorts}
	return plan.Codecs(c.Operation.RequestSize(v6), exchange.ResponseSize)
}

// reachable returns the targets whose family the encodings fit: the server does not
// listen in the other one.
func (c Challenge) reachable(targets []target) ([]target, error) {
	var last error
	fit := slices.DeleteFunc(slices.Clone(targets), func(t target) bool {
		_, _, err := c.codecs(t.knock.Is6())
		if err != nil {
			last = fmt.Errorf("%s: %w", t.knock, err)
		}
		return err != nil
	})
	if len(fit) == 0 {
		return nil, &FamilyError{last}
	}
	return fit, nil
}

// FamilyError is the error of a server that has addresses only of a family over which
// the messages do not fit the encodings: it does not listen there. Nothing was sent.
type FamilyError struct{ err error }

func (e *FamilyError) Error() string {
	return fmt.Sprintf("the messages do not fit the ports of the profile over this address family: %v", e.err)
}

func (e *FamilyError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *FamilyError) Hint() string {
	return "requests over IPv6 are longer, and the server of this profile uses IPv4 only: omit -6, and use a name or an IPv4 address of the server"
}

// ExchangeConfig is the configuration of Exchange. Server, Challenge and Random are
// required.
type ExchangeConfig struct {
	Server    string
	Addresses []netip.Addr // as in Profile
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
	Of      int // the maximum number of attempts
	Address netip.Addr
	Packets int
	First   uint16 // the lowest port of requests
	Last    uint16 // the highest port of requests
	TCP     bool   // the packets are SYNs
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
// answers. Without Keep, it then does the same for the other address family, for a short
// time. A random port accepts only one connection: Exchange returns it with Keep, and
// does not connect without Keep. It returns an OfflineError if all attempts failed, a
// ResolveError, a FamilyError, an ISNError, or the error of ctx.
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
	same := otherService(cfg.Server, cfg.Challenge.Service, cfg.Service) == ""
	err := checkBind(cfg.Challenge.Bind, cfg.Keep, same && cfg.Watch != WatchNone)
	if err != nil {
		return Result{}, err
	}
	if cfg.Challenge.Operation, err = cfg.Challenge.keyed(ctx); err != nil {
		return Result{}, err
	}
	x, err := newExchanging(ctx, cfg, service)
	if err != nil {
		return Result{}, err
	}
	x.granted = same && cfg.Challenge.Handshake == HandshakeGranted
	for attempt := 1; attempt <= cfg.Attempts; attempt++ {
		if attempt > 1 {
			if err := pause(ctx, cfg.Random); err != nil {
				return Result{}, err
			}
		}
		began := time.Now()
		result, err := x.attempt(ctx, attempt)
		if err == nil {
			result.Also = x.otherFamily(ctx, result, time.Since(began))
		}
		switch {
		case ctx.Err() != nil:
			if result.Conn != nil {
				result.Conn.Close()
			}
			return Result{}, ctx.Err()
		case !errors.Is(err, errUnanswered):
			return result, err
		}
		if closedByProgram(x.found.service) || x.enough || attempt >= enoughAttempts && x.found.letIn() {
			return Result{}, x.offline(attempt)
		}
	}
	return Result{}, x.offline(cfg.Attempts)
}

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
