package client

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"sallyport/verify/schedule"
)

// Knock sends sequences until the service answers. An attempt goes to each address of
// the server, until one answers; without Keep, then also to the other address family.
// Another program may hold one of this minute's ports: so the second attempt begins with
// a sequence to the ports of the previous minute, which most servers still keep open, and
// the last one waits for the next minute. The server may have accepted higher nonces from
// another device: so attempts move them ahead, and the third without success, and the one
// after it, end with a sequence whose nonces go by the clock. Knock makes no further attempts if it is certain
// that they would fail: ICMP errors for all knocks, or a service that lets this computer
// in, but has no program behind it. Without a service that it can watch, Knock makes all attempts at once. It
// returns an OfflineError if all attempts failed or the profile has expired, an ExhaustedError, DamagedError or
// NonceError of the nonce file, a ResolveError, an ISNError, or the error of ctx.
func Knock(ctx context.Context, cfg Config) (Result, error) {
	if err := cfg.validate(); err != nil {
		return Result{}, err
	}
	if err := cfg.Profile.expired(cfg.Now()); err != nil {
		return Result{}, err
	}
	if cfg.Else != nil {
		return chooseKnock(ctx, cfg)
	}
	watched := cfg.Profile
	if cfg.Service != "" {
		watched.Service = cfg.Service
	}
	same := otherService(cfg.Profile.Server, cfg.Profile.Service, cfg.Service) == ""
	if err := checkBind(cfg.Profile.Bind, cfg.Keep, same && cfg.Watch != WatchNone); err != nil {
		return Result{}, err
	}
	k, err := newKnocking(ctx, cfg, watched)
	if err != nil {
		return Result{}, err
	}
	k.own = same
	k.granted = same && cfg.Profile.Handshake == HandshakeGranted
	if !k.watches() {
		return k.sendOnly(ctx)
	}
	cfg.Attempts = k.cfg.Attempts
	attempt := 1
	for ; ; attempt++ {
		if _, ok := k.previousMinute(); ok && attempt == 2 {
			result, err := k.attempt(ctx, sequence{attempt: attempt, previous: true})
			switch {
			case ctx.Err() != nil:
				result.abandon()
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
			result.abandon()
			return Result{}, ctx.Err()
		case !errors.Is(err, errUnanswered) && !errors.Is(err, errNoClock):
			return result, err
		}
		if attempt == cfg.Attempts || certain {
			return Result{}, k.offline(attempt)
		}
	}
}

// newKnocking returns the state of a call of Knock, with the first addresses of the
// server. Watched is the profile with the service to watch.
func newKnocking(ctx context.Context, cfg Config, watched Profile) (*knocking, error) {
	remembered := func() []netip.Addr { return cfg.Nonces.rememberedAddresses(cfg.Profile.Server) }
	targets, err := resolve(ctx, watched, cfg.Family, remembered)
	if err != nil {
		return nil, err
	}
	k := &knocking{cfg: cfg, targets: targets, lookup: lookupLater(watched, cfg.Family, remembered), recorded: cfg.Nonces.writtenAt()}
	if s := cfg.Profile.split; s != nil && !cfg.closes {
		if k.split, err = s.resolve(ctx, cfg.Family, cfg.Nonces); err != nil {
			return nil, err
		}
	}
	if k.cfg.Attempts == 0 && k.watches() {
		k.cfg.Attempts = DefaultAttempts
	}
	k.reportTargets()
	return k, nil
}

// watches reports whether the client watches the service.
func (k *knocking) watches() bool { return k.cfg.Watch != WatchNone && k.targets[0].watched() }

// know adds targets that only the resolver gives, and returns those that are new.
func (k *knocking) know(list []target) (added []target) {
	for _, t := range list {
		if !slices.ContainsFunc(k.targets, func(other target) bool { return other.knock == t.knock }) {
			k.targets, added = append(k.targets, t), append(added, t)
		}
	}
	if len(added) > 0 {
		k.reportTargets()
	}
	return added
}

func (k *knocking) reportTargets() { k.cfg.Report(resolved(k.cfg.Profile.Server, k.targets)) }

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
