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

// Config is what Knock needs. Profile, Nonces and Now are required.
type Config struct {
	Profile  Profile
	Nonces   NonceFile
	Attempts int           // sequences in all; 0: DefaultAttempts
	Timeout  time.Duration // how long to watch after each; 0: DefaultTimeout
	Family   Family
	NoWait   bool // do not wait for the next minute's ports
	Keep     bool // keep the connection that proves the service open
	Now      func() time.Time
	Report   func(Event) // told what goes on; may be nil
}

// Result says what opened.
type Result struct {
	Address  netip.Addr     // where the knocks went
	Service  netip.AddrPort // what answered; invalid if nothing is watched
	Attempts int            // how many it took
	Conn     *Conn          // to the service, with Keep; the caller closes it
	// Once: the service is there for one connection, which nobody has tried.
	// Only Exchange opens so.
	Once bool
}

// Event is a step of Knock: Sent or Waiting.
type Event interface{ isEvent() }

// Sent says that a sequence has left.
type Sent struct {
	Attempt int
	Address netip.Addr
	Packets []Packet
	Base    uint32 // the first nonce
}

// Waiting says that the last attempt waits for the next minute's ports.
type Waiting struct{ For time.Duration }

func (Sent) isEvent()    {}
func (Waiting) isEvent() {}

// Knock sends sequences until the service answers. Without a service to watch
// it sends one. It fails with an OfflineError when all attempts were in vain,
// an ExhaustedError or DamagedError for the nonces, or the end of ctx.
func Knock(ctx context.Context, cfg Config) (Result, error) {
	if err := cfg.Profile.validate(); err != nil {
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
	targets, err := resolve(ctx, cfg.Profile, cfg.Family)
	if err != nil {
		return Result{}, err
	}
	var found findings
	var minute schedule.Minute
	for attempt := 1; attempt <= cfg.Attempts; attempt++ {
		skip := uint32(0)
		if attempt == cfg.Attempts && attempt > 1 {
			// What failed till now may be a port that another program holds,
			// or nonces that the server knows already.
			skip = jump
			if !cfg.NoWait {
				if err := nextMinute(ctx, cfg, minute); err != nil {
					return Result{}, err
				}
			}
		}
		base, err := cfg.Nonces.Reserve(ctx, cfg.Profile.Identifier.String(), cfg.Profile.Ports, skip)
		if err != nil {
			return Result{}, err
		}
		now := cfg.Now()
		minute = schedule.MinuteOf(now)
		knocks, err := Sequence(cfg.Profile, now, base)
		if err != nil {
			return Result{}, err
		}
		t, s, err := sendFirst(rotated(targets, attempt-1), knocks)
		if err != nil {
			return Result{}, &OfflineError{Server: cfg.Profile.Server, Attempts: attempt, Hints: []string{hintSend(err)}, err: err}
		}
		cfg.Report(Sent{Attempt: attempt, Address: t.knock, Packets: knocks, Base: base})
		result := Result{Address: t.knock, Service: t.service, Attempts: attempt}
		if !t.service.IsValid() {
			s.Close()
			return result, nil
		}
		conn, watchErr := watch(ctx, t.service, cfg.Timeout)
		s.collect()
		found.add(s.refused, watchErr)
		s.Close()
		switch {
		case watchErr == nil && cfg.Keep:
			result.Conn = conn
			return result, nil
		case watchErr == nil:
			conn.Close()
			return result, nil
		case ctx.Err() != nil:
			return Result{}, ctx.Err()
		}
	}
	return Result{}, &OfflineError{
		Server: cfg.Profile.Server, Attempts: cfg.Attempts,
		Hints: found.hints(cfg.Profile, ClockState(), cfg.Now()), err: found.service,
	}
}

// OfflineError says that no attempt opened the service.
type OfflineError struct {
	Server   string
	Attempts int
	Hints    []string // what was found out, most telling first
	err      error
}

func (e *OfflineError) Error() string {
	times := fmt.Sprintf("%d attempts", e.Attempts)
	if e.Attempts == 1 {
		times = "one attempt"
	}
	return fmt.Sprintf("%s seems offline: no answer after %s", e.Server, times)
}

func (e *OfflineError) Unwrap() error { return e.err }

// Hint returns the hints, one a line.
func (e *OfflineError) Hint() string { return strings.Join(e.Hints, "\n") }

// nextMinute returns when the minute of the last attempt is over.
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

// rotated begins the list with its i-th target: if the first address leads
// nowhere, the next attempt goes to the next one.
func rotated(targets []target, i int) []target {
	i %= len(targets)
	return slices.Concat(targets[i:], targets[:i])
}

// sendFirst sends the sequence to the first target that can be reached at all.
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
