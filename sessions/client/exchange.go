package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// ExchangeConfig is the configuration of Exchange. Server, Challenge and Random are
// required.
type ExchangeConfig struct {
	Server    string
	Addresses []netip.Addr // as in Profile
	// Gateways are those over which the packets of an exchange are spread; empty: all go to
	// Server. The service is that of the gateway that sends the challenge.
	Gateways  []Gateway
	Challenge Challenge
	Service   string        // to watch, in place of the challenge's; empty: the challenge's
	Attempts  int           // by each carrier; 0: DefaultAttempts, and fewer if there are several
	Timeout   time.Duration // for the challenge, and then for the service; 0: DefaultTimeout
	Family    Family
	Keep      bool  // return the connection to the service
	Watch     Watch // as in Config
	// CheckBefore is as in Config. Exchange ignores it for a random port.
	CheckBefore bool
	// Prover proves the connections, if Challenge has BindConnection. Its secret is that of
	// a client, and not of the operation.
	Prover *ConnProver
	// Carrier carries the messages; CarrierAuto: packets, HTTPS and DNS in this order, as
	// far as the profile has them, until one works.
	Carrier Carrier
	// Remembered is where the client remembers which carrier has worked; it then begins
	// with that one in this network.
	Remembered CarrierFile
	// CarrierTime is how long a message by HTTP or DNS may take; 0: DefaultCarrierTime.
	CarrierTime time.Duration
	// Roots and Proxy are as in carriers.HTTPConfig.
	Roots *x509.CertPool
	Proxy func(*url.URL) (*url.URL, error)
	// Resolver is as in carriers.DNSConfig.
	Resolver *net.Resolver
	// Tunnel connects to the service after an exchange by HTTPS, if the profile has a
	// tunnel, and Keep is set; nil: the client connects to the service itself.
	Tunnel Tunnel
	// Probe is for a caller that makes connections later, each by an Exchange with Keep: if
	// they go by Tunnel, an exchange without Keep ends with the challenge, and opens nothing
	// (Result.ByTunnel).
	Probe  bool
	Random io.Reader
	// Now is the time of day, of which Challenge.Hop draws the ports; nil: time.Now.
	Now    func() time.Time
	Report func(Event) // receives each step; may be nil
}

// Requested: the client sent a request.
type Requested struct {
	Attempt int
	Of      int // the maximum number of attempts
	Address netip.Addr
	Packets int    // 0: the request is not one of packets
	First   uint16 // the lowest port of requests
	Last    uint16 // the highest port of requests
	TCP     bool   // the packets are SYNs
	Carrier Carrier
}

// DefaultCarrierTime is that of an ExchangeConfig: a new connection with TLS through a
// slow proxy has three round trips and more.
const DefaultCarrierTime = 10 * time.Second

// Answered: the client received the challenge and sent the response.
type Answered struct {
	Public  netip.Addr    // this computer's address, as seen by the server; invalid: it is not known
	Packets int           // 0: the response is not one of packets
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
	if err := cfg.prepare(); err != nil {
		return Result{}, err
	}
	return chooseExchange(ctx, cfg)
}

// prepare checks a configuration, and sets defaults.
func (cfg *ExchangeConfig) prepare() error {
	if err := cfg.Challenge.Check(); err != nil {
		return fmt.Errorf("profile: challenge: %w", err)
	}
	if err := cfg.checkSpread(); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if cfg.Report == nil {
		cfg.Report = func(Event) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	cfg.CarrierTime = cmp.Or(cfg.CarrierTime, DefaultCarrierTime)
	same := cfg.same()
	if err := checkBind(cfg.Challenge.Bind, cfg.Keep, same && cfg.Watch != WatchNone); err != nil {
		return err
	}
	if cfg.Challenge.Bind != BindConnection {
		cfg.Prover = nil
	} else if cfg.Prover == nil && same && cfg.Keep {
		return errNoProver
	}
	return nil
}

// same reports whether the client watches the service of the challenge.
func (cfg *ExchangeConfig) same() bool {
	return otherService(cfg.Server, cfg.Challenge.Service, cfg.Service) == ""
}

// exchangeBy makes an exchange by one carrier.
func exchangeBy(ctx context.Context, cfg ExchangeConfig, by Carrier) (Result, error) {
	cfg.Attempts = cmp.Or(cfg.Attempts, DefaultAttempts)
	same := cfg.same()
	x, err := newExchanging(ctx, cfg, by, cmp.Or(cfg.Service, cfg.Challenge.Service))
	if err != nil {
		return Result{}, err
	}
	x.own = same
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
			result.abandon()
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
