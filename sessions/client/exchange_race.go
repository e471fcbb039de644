package client

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// exchanging is one call of Exchange.
type exchanging struct {
	cfg     ExchangeConfig
	targets []target
	lookup  func(context.Context) <-chan []target // asks the resolver for more; nil: it has answered
	found   exchangeFindings
	enough  bool // one attempt has shown all that can be known
	granted bool // only granted addresses complete a handshake with the service
}

// newExchanging returns the state of a call, with the first addresses of the server.
func newExchanging(ctx context.Context, cfg ExchangeConfig, service string) (*exchanging, error) {
	p := Profile{Server: cfg.Server, Addresses: cfg.Addresses, Service: service}
	none := func() []netip.Addr { return nil }
	targets, err := resolve(ctx, p, cfg.Family, none)
	if err != nil {
		return nil, err
	}
	if targets, err = cfg.Challenge.reachable(targets); err != nil {
		return nil, err
	}
	cfg.Report(resolved(cfg.Server, targets))
	return &exchanging{cfg: cfg, targets: targets, lookup: lookupLater(p, cfg.Family, none)}, nil
}

func (x *exchanging) watches(t target) bool { return t.watched() && x.cfg.Watch != WatchNone }

// attempt sends a request to each address, one after the other as a knock, and responds
// to the first challenge: one operation is enough.
func (x *exchanging) attempt(ctx context.Context, n int) (Result, error) {
	r, err := x.firstChallenge(ctx, n)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	stop := context.AfterFunc(ctx, r.close)
	defer stop()
	result, err := x.respond(ctx, r, n)
	if err == nil || ctx.Err() != nil {
		return result, err
	}
	x.cfg.Report(Unanswered{Attempt: n, Address: r.knock, Service: result.Service, Err: err})
	if i := slices.Index(x.targets, r.target); len(x.targets) > 1 && i >= 0 {
		// Another address has its turn first in the next attempt.
		x.targets = append(slices.Delete(x.targets, i, i+1), r.target)
	}
	if isSendError(err) && len(x.targets) == 1 {
		return Result{}, x.cannotSend(n, err)
	}
	return Result{}, errUnanswered
}

// firstChallenge returns the request that received the first challenge.
func (x *exchanging) firstChallenge(ctx context.Context, n int) (*request, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, running := newPlan(time.Now(), false), map[*request]bool{}
	answers := make(chan *request, 1)
	var unsent []error
	var first *request
	for _, t := range x.targets {
		p.add(t.named, t.knock)
	}
	defer func() {
		for r := range running {
			r.close()
		}
		for range running { // each ends now
			if r := <-answers; r != first {
				x.found.forged += r.found.forged
			}
		}
	}()
	var found <-chan []target
	lookup := time.NewTimer(namedPause)
	defer lookup.Stop()
	for first == nil && ctx.Err() == nil {
		i, at, ok := p.due()
		if ok && time.Until(at) <= 0 {
			r, err := x.request(ctx, x.targets[i], n)
			switch {
			case isSendError(err):
				unsent = append(unsent, err)
				x.cfg.Report(Unanswered{Attempt: n, Address: x.targets[i].knock, Err: err})
				p.over(i, time.Now())
			case err != nil:
				return nil, err
			default:
				p.sent(i, time.Now())
				r.index, running[r] = i, true
				await := func() { r.await(answers, x.cfg, x.found.contradicted) }
				if len(x.targets) == 1 && x.lookup == nil {
					await() // on this thread, which may be in another network namespace
				} else {
					go await()
				}
			}
			continue
		}
		switch {
		case !ok && len(running) == 0 && x.lookup == nil && len(unsent) == len(x.targets):
			return nil, x.cannotSend(n, errors.Join(unsent...))
		case !ok && len(running) == 0 && x.lookup == nil:
			return nil, errUnanswered
		case !ok && len(running) == 0 && found == nil:
			lookup.Reset(0)
		}
		if !ok {
			at = time.Time{}
		}
		timer := newTimer(at)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case r := <-answers:
			delete(running, r)
			x.found.forged += r.found.forged
			p.over(r.index, time.Now())
			if r.err == nil {
				first = r
			} else if r.close(); ctx.Err() == nil {
				x.cfg.Report(Unanswered{Attempt: n, Address: r.knock, Err: r.err})
			}
		case <-lookup.C:
			if found == nil && x.lookup != nil {
				found = x.lookup(ctx)
			}
		case list := <-found:
			found, x.lookup = nil, nil
			x.know(p, list)
		}
		timer.Stop()
	}
	if first == nil {
		return nil, ctx.Err()
	}
	return first, nil
}

// await waits for the challenge.
func (r *request) await(answers chan<- *request, cfg ExchangeConfig, contradicted bool) {
	r.found.contradicted = contradicted
	r.answer, r.err = r.transport.awaitChallenge(r.initiator, cfg.Timeout, cfg.Random, &r.found)
	r.challenged = time.Now()
	answers <- r
}

// know adds targets that only the resolver gives.
func (x *exchanging) know(p *plan, list []target) {
	list, _ = x.cfg.Challenge.reachable(list)
	for _, t := range list {
		if !slices.ContainsFunc(x.targets, func(other target) bool { return other.knock == t.knock }) {
			x.targets = append(x.targets, t)
			p.add(t.named, t.knock)
		}
	}
	x.cfg.Report(resolved(x.cfg.Server, x.targets))
}

// cannotSend returns the error if this computer cannot send to any address.
func (x *exchanging) cannotSend(attempts int, err error) error {
	return &OfflineError{
		Server: x.cfg.Server, Attempts: attempts, Hints: []string{sendHint(err, x.cfg.Challenge.ports())}, err: err, unsent: true,
	}
}
