package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sallyport/verify/schedule"
)

// Defaults of a Config.
const (
	DefaultAttempts = 3
	DefaultTimeout  = 3 * time.Second
	// DefaultSequences is how many sequences Knock sends to an address, at most, in
	// DefaultAttempts to a service that it watches: one of them goes to the ports of the
	// previous minute, and one has nonces that go by the clock.
	DefaultSequences = DefaultAttempts + 2
)

// Config is the configuration of Knock. Profile, Nonces and Now are required.
type Config struct {
	Profile  Profile
	Service  string // to watch, in place of the profile's; empty: the profile's
	Nonces   NonceFile
	Attempts int           // the maximum number of attempts; 0: DefaultAttempts
	Timeout  time.Duration // how long to wait for the service after each; 0: DefaultTimeout
	Family   Family
	NoWait   bool  // do not wait for the next minute's ports
	Keep     bool  // return the connection to the service
	Watch    Watch // how to watch; WatchDefault: as in the profile. Keep makes whole connections
	// CheckBefore: report whether the service was open before the knock. On systems
	// without half-open connections, this takes one more connection to it, and Knock
	// ignores it with Keep: one login is one connection.
	CheckBefore bool
	Now         func() time.Time
	Report      func(Event) // receives each step; may be nil
}

func (c *Config) checksBefore() bool {
	return c.CheckBefore && !c.Keep || canHalfOpen
}

// validate returns an error if the configuration is not complete, and sets defaults.
func (c *Config) validate() error {
	watched := c.Profile
	if c.Service != "" {
		watched.Service = c.Service
	}
	if err := errors.Join(c.Profile.Bind.check(c.Profile.Service), watched.validate()); err != nil {
		return err
	}
	if c.Watch == WatchDefault {
		c.Watch = c.Profile.Watch
	}
	if !c.Watch.Valid() {
		return fmt.Errorf("expected a way to watch, got %q", c.Watch)
	}
	if c.Report == nil {
		c.Report = func(Event) {}
	}
	if c.Attempts == 0 {
		c.Attempts = DefaultAttempts
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return nil
}

// Result is the result of Knock or Exchange.
type Result struct {
	Address  netip.Addr     // of the server, to which the packets went
	Service  netip.AddrPort // of the profile, at this address; invalid: the profile names none
	UDP      bool           // the service is a UDP service
	Watched  bool           // the service answered; false: the client only sent
	Attempts int            // how many were necessary
	Conn     *Conn          // to the service, with Keep; the caller closes it
	// SingleUse: the service accepts one connection, and the client has not tried
	// it. Only Exchange returns this, for a random port.
	SingleUse bool
	// OpenBefore: with CheckBefore, a connection that the client began before the
	// knock succeeded too. False: it did not, or the client does not know.
	OpenBefore bool
	// Rejected: there were ICMP errors for knocks of the last sequence.
	Rejected bool
	// Lost: in this many earlier attempts of Exchange, packets were lost on the way.
	Lost Lost
}

// Event is a step of Knock (Resolved, Sent, Unanswered, Waiting) or of Exchange
// (Resolved, Requested, Answered, Unanswered).
type Event interface{ isEvent() }

// Resolved: the addresses of the server are known, in the order of the attempts.
type Resolved struct {
	Server    string
	Addresses []netip.Addr
}

// Sent: the client sent a sequence.
type Sent struct {
	Attempt int
	Address netip.Addr
	Packets []Packet
	Base    uint32 // the first nonce
	// Drawn are the ports at which the service may open, the likeliest first, if its
	// port rotates.
	Drawn []uint16
	// Previous: the ports are those of the previous minute.
	Previous bool
	// ByClock: the nonces go by the clock, since attempts have failed.
	ByClock bool
}

// Unanswered: an attempt failed.
type Unanswered struct {
	Attempt int
	Address netip.Addr     // of the server, to which the packets went
	Service netip.AddrPort // invalid: the client did not try to connect to it
	Err     error          // of the last attempt to connect, or to receive a challenge; may be nil
	Refused int            // the number of ICMP errors "port unreachable" for knocks
	Blocked int            // the number of other ICMP errors for knocks
}

// Waiting: the last attempt waits for the next minute's ports.
type Waiting struct{ For time.Duration }

// Moved: the service opened after the nonces were moved ahead. The server may have
// accepted those before from another device with the same profile.
type Moved struct {
	// Previous: the service opened after a sequence to the previous minute's ports. So
	// another program may hold a port of this minute.
	Previous bool
}

func (Moved) isEvent()      {}
func (Resolved) isEvent()   {}
func (Sent) isEvent()       {}
func (Unanswered) isEvent() {}
func (Waiting) isEvent()    {}

// Knock sends sequences until the service answers. An attempt goes to each address of
// the server, until one answers. Another program may hold one of this minute's ports:
// so the second attempt begins with a sequence to the ports of the previous minute,
// which most servers still keep open, and the last one waits for the next minute. The
// server may have accepted higher nonces from another device: so attempts move them
// ahead, and the third without success ends with a sequence whose nonces go by the
// clock. Knock
// makes no further attempts if it is certain that they would fail: ICMP errors for all
// knocks of two attempts, or a service that lets this computer in, but has no program
// behind it. Without a service that it can watch, Knock makes all attempts at once. It
// returns an OfflineError if all attempts failed, an ExhaustedError, DamagedError or
// NonceError of the nonce file, a ResolveError, an ISNError, or the error of ctx.
func Knock(ctx context.Context, cfg Config) (Result, error) {
	if err := cfg.validate(); err != nil {
		return Result{}, err
	}
	watched := cfg.Profile
	if cfg.Service != "" {
		watched.Service = cfg.Service
	}
	same := otherService(cfg.Profile.Server, cfg.Profile.Service, cfg.Service) == ""
	if err := checkBind(cfg.Profile.Bind, cfg.Keep, same && cfg.Watch != WatchNone); err != nil {
		return Result{}, err
	}
	targets, err := resolve(ctx, watched, cfg.Family)
	if err != nil {
		return Result{}, err
	}
	cfg.Report(resolved(cfg.Profile.Server, targets))
	k := &knocking{cfg: cfg, targets: targets}
	if cfg.Watch == WatchNone || !targets[0].watched() {
		return k.sendOnly(ctx)
	}
	attempt := 1
	for ; ; attempt++ {
		if _, ok := k.previousMinute(); ok && attempt == 2 {
			result, err := k.attempt(ctx, sequence{attempt: attempt, previous: true})
			switch {
			case ctx.Err() != nil:
				return Result{}, ctx.Err()
			case !errors.Is(err, errUnanswered):
				return result, err
			}
		}
		if attempt == cfg.Attempts && attempt > 1 && !cfg.NoWait {
			if err := nextMinute(ctx, cfg, k.minute); err != nil {
				return Result{}, err
			}
		}
		result, err := k.attempt(ctx, sequence{attempt: attempt})
		certain := errors.Is(err, errUnanswered) && k.certain(attempt)
		if errors.Is(err, errUnanswered) && k.nonces.byClock && !certain && ctx.Err() == nil {
			result, err = k.attempt(ctx, sequence{attempt: attempt, byClock: true})
		}
		switch {
		case ctx.Err() != nil:
			return Result{}, ctx.Err()
		case !errors.Is(err, errUnanswered) && !errors.Is(err, errNoClock):
			return result, err
		}
		if attempt == cfg.Attempts || certain {
			return Result{}, k.offline(attempt)
		}
	}
}

// nextMinute waits until the minute of the previous attempt is over.
func nextMinute(ctx context.Context, cfg Config, last schedule.Minute) error {
	for {
		now := cfg.Now()
		if schedule.MinuteOf(now) != last {
			return nil
		}
		d := (last + 1).Start().Sub(now)
		cfg.Report(Waiting{For: d})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
		}
	}
}

// resolved returns the event of targets.
func resolved(server string, targets []target) Resolved {
	e := Resolved{Server: server}
	for _, t := range targets {
		e.Addresses = append(e.Addresses, t.knock)
	}
	return e
}
