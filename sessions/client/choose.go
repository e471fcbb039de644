package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// carriedAttempts is how many attempts each way gets if there are others: packets of one
// attempt may be lost.
const carriedAttempts = 2

// byWay is one way to open a service. Each has its own time: that of its attempts.
type byWay struct {
	by  Carrier
	run func(context.Context) (Result, error)
}

// choice tries several ways, one after the other.
type choice struct {
	ways   []byWay // at least one, the usual one first
	file   CarrierFile
	place  carrierPlace
	now    func() time.Time
	report func(Event)
	tunnel bool // HTTPS also carries the connection to the service
}

// Changing: a way has failed, and the client goes on with another one; or, at the
// beginning, another way than the usual one has worked in this network before.
type Changing struct {
	To         Carrier
	Remembered bool
	Err        error // of the way before; nil, if Remembered
}

func (Changing) isEvent() {}

// run returns the result of the first way that works.
func (c *choice) run(ctx context.Context) (Result, error) {
	usual := c.ways[0].by
	first := c.file.remembered(c.place, c.now())
	if i := slices.IndexFunc(c.ways, func(w byWay) bool { return w.by == first }); i > 0 {
		w := c.ways[i]
		c.ways = slices.Insert(slices.Delete(c.ways, i, i+1), 0, w)
		c.report(Changing{To: w.by, Remembered: true})
	}
	var failed []*OfflineError
	var unresolved error // the first way's, while all have failed so
	for i, w := range c.ways {
		if i > 0 {
			c.report(Changing{To: w.by, Err: failed[i-1]})
		}
		result, err := w.run(ctx)
		if err == nil {
			confirmed := result.Watched || result.Carrier != ""
			switch {
			case confirmed && w.by == usual:
				c.file.forget(c.place)
			case confirmed && slices.ContainsFunc(c.ways[:i], func(w byWay) bool { return w.by == usual }):
				c.file.remember(c.place, w.by, c.now())
			case !confirmed:
				for _, other := range c.ways[i+1:] {
					result.Untried = append(result.Untried, other.by)
				}
			}
			return result, nil
		}
		var offline *OfflineError
		switch known := errors.As(err, &offline); {
		case ctx.Err() != nil || !known && ReasonOf(err) == "":
			var signing *SigningError
			if i > 0 && errors.As(err, &signing) {
				signing.unsent = false // the ways before have sent
			}
			return result, err
		case known:
			unresolved = nil
		default: // no address of the server, which another way may not need
			if i == 0 {
				unresolved = err
			}
			offline = &OfflineError{Server: c.place.server, Reason: ReasonOf(err), Certain: []string{err.Error()}, err: err}
		}
		failed = append(failed, offline)
		if offline.final() && !(c.tunnel && w.by != CarrierHTTPS) {
			break
		}
	}
	if unresolved != nil {
		return Result{}, unresolved
	}
	return Result{}, mergeOffline(failed, func(i int) string { return "by " + wayName(c.ways[i].by) })
}

// final reports whether another way to the same end would fail alike: the server has let
// this computer in, or another host or program has its place. A reset, or a service that
// does not open, may be due to packets that were lost.
func (e *OfflineError) final() bool {
	switch e.Reason {
	case ReasonExpired, ReasonNotListening, ReasonUpstream, ReasonImpostor:
		return true
	}
	return e.letIn
}

// silent reports whether nothing has answered.
func (e *OfflineError) silent() bool {
	switch e.Reason {
	case ReasonNoAnswer, ReasonNoChallenge, ReasonUnreachable, ReasonCannotSend, ReasonNoResolver, ReasonNoAddress:
		return e.found == ""
	}
	return false
}

// mergeOffline returns the error of all that was tried: the first one to which something
// has answered, with what the others have shown. Name begins that of each.
func mergeOffline(failed []*OfflineError, name func(int) string) error {
	main := 0
	for i, e := range failed {
		if !e.silent() {
			main = i
			break
		}
	}
	e := *failed[main]
	for i, other := range failed {
		if i == main {
			continue
		}
		for _, seen := range other.Certain {
			e.Certain = append(slices.Clone(e.Certain), fmt.Sprintf("%s: %s", name(i), seen))
		}
		for _, d := range []struct {
			to   *[]string
			from []string
		}{{&e.Likely, other.Likely}, {&e.Advice, other.Advice}} {
			for _, text := range d.from {
				if !slices.Contains(*d.to, text) {
					*d.to = append(slices.Clone(*d.to), text)
				}
			}
		}
		e.Attempts += other.Attempts
	}
	e.Hints = slices.Concat(e.Certain, e.Likely, e.Advice)
	return &e
}

// wayName is the name of a way in texts.
func wayName(c Carrier) string {
	switch c {
	case CarrierHTTPS:
		return "HTTPS"
	case CarrierDNS:
		return "DNS"
	}
	return "packets"
}

// chooseExchange makes an exchange by the carriers that the profile has.
func chooseExchange(ctx context.Context, cfg ExchangeConfig) (Result, error) {
	all, err := cfg.carriers()
	if err != nil {
		return Result{}, err
	}
	return cfg.choose(all, false).run(ctx)
}

// choose returns the choice among carriers. Sequences: the first one is that of the sequence
// protocol.
func (cfg ExchangeConfig) choose(all []Carrier, sequences bool) *choice {
	c := &choice{file: cfg.Remembered, now: cfg.Now, report: cfg.Report}
	c.place = carrierPlace{server: cfg.Server, ways: waysOf(cfg.Challenge, sequences)}
	if len(all) > 1 {
		cfg.Attempts = cmp.Or(cfg.Attempts, carriedAttempts)
		c.place.network = networkOf(cfg.Server, cfg.Addresses)
	}
	for _, by := range all {
		c.tunnel = c.tunnel || cfg.tunnels(by)
		c.ways = append(c.ways, byWay{by, func(ctx context.Context) (result Result, err error) {
			// A program may have to ask a person for the secret: once, and not before it is
			// needed.
			if cfg.Challenge.Operation, err = cfg.Challenge.keyed(ctx); err != nil {
				return Result{}, err
			}
			cfg.Challenge.Secret = nil
			return exchangeBy(ctx, cfg, by)
		}})
	}
	return c
}

// chooseKnock sends a sequence, and if that opens nothing it makes an exchange by the
// carriers that the profile has.
func chooseKnock(ctx context.Context, cfg Config) (Result, error) {
	e := *cfg.Else
	e.Service, e.Keep, e.Watch, e.Family, e.Timeout, e.Report = cfg.Service, cfg.Keep, cfg.Watch, cfg.Family, cfg.Timeout, cfg.Report
	e.Attempts, e.Now = cfg.Attempts, cfg.Now
	if err := e.prepare(); err != nil {
		return Result{}, err
	}
	all, _ := e.carriers() // those that suit
	all = slices.DeleteFunc(all, func(c Carrier) bool { return c == CarrierPackets })
	cfg.Else = nil
	if cfg.Attempts == 0 && len(all) > 0 {
		cfg.Attempts, cfg.NoWait = carriedAttempts, true
	}
	c := e.choose(append([]Carrier{CarrierPackets}, all...), true)
	c.ways[0].run = func(ctx context.Context) (Result, error) { return Knock(ctx, cfg) }
	return c.run(ctx)
}
