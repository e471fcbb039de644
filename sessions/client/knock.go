package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/verify/schedule"
)

// Defaults of a Config.
const (
	DefaultAttempts = 3
	DefaultTimeout  = 3 * time.Second
)

// Config is the configuration of Knock. Profile, Nonces and Now are required.
type Config struct {
	Profile  Profile
	Service  string // to watch, in place of the profile's; empty: the profile's
	Nonces   NonceFile
	Attempts int           // the maximum number of sequences; 0: DefaultAttempts
	Timeout  time.Duration // how long to wait for the service after each; 0: DefaultTimeout
	Family   Family
	NoWait   bool // do not wait for the next minute's ports
	Keep     bool // return the connection to the service
	// CheckBefore: also check whether the service is open before the knock, with one
	// more connection to it. Knock ignores it with Keep: one login is one connection.
	CheckBefore bool
	Now         func() time.Time
	Report      func(Event) // receives each step; may be nil
}

// Result is the result of Knock or Exchange.
type Result struct {
	Address  netip.Addr     // of the server, to which the packets went
	Service  netip.AddrPort // the service that answered; invalid: there is no service to watch
	Attempts int            // how many were necessary
	Conn     *Conn          // to the service, with Keep; the caller closes it
	// SingleUse: the service accepts one connection, and the client has not tried
	// it. Only Exchange returns this, for a random port.
	SingleUse bool
	// OpenBefore: with CheckBefore, a connection that the client began before the
	// knock succeeded too. False: it did not, or the client does not know.
	OpenBefore bool
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
}

// Unanswered: an attempt failed.
type Unanswered struct {
	Attempt int
	Service netip.AddrPort // invalid: the client did not try to connect to it
	Err     error          // of the last attempt to connect, or to receive a challenge
	Refused int            // the number of ICMP errors "port unreachable" for knocks
	Blocked int            // the number of other ICMP errors for knocks
}

// Waiting: the last attempt waits for the next minute's ports.
type Waiting struct{ For time.Duration }

// Moved: the service opened after the nonces were moved ahead. The server may have
// accepted those before from another device with the same profile.
type Moved struct{}

func (Moved) isEvent()      {}
func (Resolved) isEvent()   {}
func (Sent) isEvent()       {}
func (Unanswered) isEvent() {}
func (Waiting) isEvent()    {}

// Knock sends sequences until the service answers. Without a service to watch, it
// sends one sequence. It returns an OfflineError if all attempts failed, an
// ExhaustedError, DamagedError or NonceError of the nonce file, a ResolveError, or
// the error of ctx.
func Knock(ctx context.Context, cfg Config) (Result, error) {
	watched := cfg.Profile
	if cfg.Service != "" {
		watched.Service = cfg.Service
	}
	if err := watched.validate(); err != nil {
		return Result{}, err
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
	targets, err := resolve(ctx, watched, cfg.Family)
	if err != nil {
		return Result{}, err
	}
	cfg.Report(resolved(cfg.Profile.Server, targets))
	var early *earlyConn
	if cfg.CheckBefore && !cfg.Keep {
		early = beginEarly(targets[0].service)
	}
	defer early.close()
	var found findings
	var minute schedule.Minute
	for attempt := 1; attempt <= cfg.Attempts; attempt++ {
		if attempt == cfg.Attempts && attempt > 1 && !cfg.NoWait {
			// Another program may hold one of this minute's ports.
			if err := nextMinute(ctx, cfg, minute); err != nil {
				return Result{}, err
			}
		}
		base, moved, err := cfg.Nonces.Reserve(ctx, cfg.Profile.Identifier.String(), cfg.Profile.Ports, cfg.Now())
		if err != nil {
			return Result{}, err
		}
		now := cfg.Now()
		minute = schedule.MinuteOf(now)
		knocks, err := Sequence(cfg.Profile, now, base)
		if err != nil {
			return Result{}, err
		}
		if attempt == 1 {
			early.beforeKnock()
		}
		t, s, err := sendFirst(rotated(targets, attempt-1), knocks)
		if err != nil {
			return Result{}, &OfflineError{
				Server: cfg.Profile.Server, Attempts: attempt, Hints: []string{sendHint(err)}, err: err, unsent: true,
			}
		}
		cfg.Report(Sent{Attempt: attempt, Address: t.knock, Packets: knocks, Base: base})
		result := Result{Address: t.knock, Service: t.service, Attempts: attempt}
		if !t.service.IsValid() {
			s.Close()
			return result, nil
		}
		conn, serviceErr := waitForService(ctx, t.service, cfg.Timeout)
		s.readICMPErrors()
		before := found
		found.add(s.icmpErrors, t.service, serviceErr)
		s.Close()
		result.OpenBefore = serviceErr == nil && attempt == 1 && early.open(t.service)
		early.close()
		if serviceErr == nil {
			cfg.Nonces.Opened(ctx) // after an error, the next attempts only jump too early
			if moved {
				cfg.Report(Moved{})
			}
		}
		switch {
		case serviceErr == nil && cfg.Keep:
			result.Conn = conn
			return result, nil
		case serviceErr == nil:
			conn.Close()
			return result, nil
		case ctx.Err() != nil:
			return Result{}, ctx.Err()
		}
		cfg.Report(Unanswered{
			Attempt: attempt, Service: t.service, Err: serviceErr,
			Refused: found.refused - before.refused, Blocked: found.prohibited - before.prohibited,
		})
	}
	hints := found.hints(cfg, ClockState(), cfg.Now())
	if cfg.Attempts == 1 {
		hints = append(hints, "if another device uses this profile, or it comes from a backup: "+
			"knock once more, since the next attempt moves the nonces ahead. Each device needs its own client")
	}
	return Result{}, &OfflineError{
		Server: cfg.Profile.Server, Service: found.at, Attempts: cfg.Attempts, Up: found.up(),
		Hints: hints, err: found.service,
	}
}

// OfflineError is the error if no attempt opened the service.
type OfflineError struct {
	Server   string
	Service  netip.AddrPort // of the last attempt; invalid: the client did not connect to one
	Attempts int
	Up       bool     // the host, or a firewall in front of it, answered a packet
	Hints    []string // about the cause, the most likely one first
	err      error
	unsent   bool // this computer could not send
}

func (e *OfflineError) Error() string {
	times := fmt.Sprintf("%d attempts", e.Attempts)
	if e.Attempts == 1 {
		times = "one attempt"
	}
	switch {
	case e.unsent:
		return "this computer cannot send to " + e.Server
	case e.Up && e.Service.IsValid():
		return fmt.Sprintf("%s: the service %s did not open after %s", e.Server, e.Service, times)
	case e.Up:
		return fmt.Sprintf("%s: the service did not open after %s", e.Server, times)
	}
	return fmt.Sprintf("%s seems offline: no answer after %s", e.Server, times)
}

func (e *OfflineError) Unwrap() error { return e.err }

// Hint returns the hints, one on each line.
func (e *OfflineError) Hint() string { return strings.Join(e.Hints, "\n") }

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

// rotated returns the targets beginning with the i-th one: if the first address does
// not lead to the server, the next attempt goes to the next one.
func rotated(targets []target, i int) []target {
	i %= len(targets)
	return slices.Concat(targets[i:], targets[:i])
}

// sendFirst sends the sequence to the first target to which this computer can send.
func sendFirst(targets []target, knocks []Packet) (target, *sender, error) {
	var errs []error
	for _, t := range targets {
		s, err := send(t.knock, knocks)
		if err == nil {
			return t, s, nil
		}
		errs = append(errs, err)
	}
	return target{}, nil, errors.Join(errs...)
}
