package client

import (
	"context"
	"errors"
	"time"
)

// asking is the first half of an attempt: a request to each address, until a challenge
// comes. One goroutine owns it; another waits for the challenge of each request.
type asking struct {
	*exchanging
	n       int // the attempt
	plan    *plan
	running map[*request]bool
	answers chan *request
	unsent  []error
}

// firstChallenge returns the request that received the first challenge.
func (x *exchanging) firstChallenge(ctx context.Context, n int) (*request, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of the resolver
	a := &asking{
		exchanging: x, n: n, plan: newPlan(time.Now(), false), running: map[*request]bool{}, answers: make(chan *request, 1),
	}
	if x.by != CarrierPackets {
		a.plan.pause = carriedPause
	}
	for _, t := range x.targets {
		x.add(a.plan, t)
	}
	defer a.close()
	return a.run(ctx)
}

// run returns the request that received the first challenge.
func (a *asking) run(ctx context.Context) (*request, error) {
	var found <-chan []target // the resolver's answer
	lookup := time.NewTimer(namedPause)
	defer lookup.Stop()
	for ctx.Err() == nil {
		next, later, err := a.sendDue(ctx)
		if err != nil {
			return nil, err
		}
		if !later && len(a.running) == 0 {
			switch {
			case found != nil:
			case a.lookup != nil:
				lookup.Reset(0) // without it, there is nothing to do
			case len(a.unsent) == len(a.targets):
				return nil, a.cannotSend(a.n, errors.Join(a.unsent...))
			default:
				return nil, errUnanswered
			}
		}
		timer := newTimer(next)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case r := <-a.answers:
			if a.take(ctx, r); r.err == nil {
				timer.Stop()
				return r, nil
			}
		case <-lookup.C:
			if found == nil && a.lookup != nil {
				found = a.lookup(ctx)
			}
		case list := <-found:
			found, a.lookup = nil, nil
			a.know(a.plan, list)
		}
		timer.Stop()
	}
	return nil, ctx.Err()
}

// sendDue sends the requests that are due, and returns when the next one is. Later: one is
// due later.
func (a *asking) sendDue(ctx context.Context) (next time.Time, later bool, err error) {
	for {
		i, at, ok := a.plan.due()
		switch {
		case !ok:
			return time.Time{}, false, nil
		case time.Until(at) > 0:
			return at, true, nil
		}
		r, err := a.request(ctx, a.targets[i], a.n)
		switch {
		case isSendError(err):
			a.unsent = append(a.unsent, err)
			a.cfg.Report(Unanswered{Attempt: a.n, Address: a.targets[i].knock, Err: err})
			a.plan.over(i, time.Now())
			continue
		case err != nil:
			return time.Time{}, false, err
		}
		a.plan.sent(i, time.Now())
		r.index, a.running[r] = i, true
		await := func() { r.await(ctx, a.answers, a.cfg, a.found.contradicted) }
		if len(a.targets) == 1 && a.lookup == nil {
			await() // on this thread, which may be in another network namespace
		} else {
			go await()
		}
	}
}

// take takes the result of a request.
func (a *asking) take(ctx context.Context, r *request) {
	delete(a.running, r)
	a.found.forged += r.found.forged
	if r.found.fault != nil {
		a.found.fault = r.found.fault
	}
	a.plan.over(r.index, time.Now())
	if r.err == nil {
		return
	}
	r.close()
	if ctx.Err() == nil {
		a.cfg.Report(Unanswered{Attempt: a.n, Address: r.knock, Err: r.err})
	}
}

// close ends the requests that still wait.
func (a *asking) close() {
	for r := range a.running {
		r.close()
	}
	for range a.running { // each ends now
		a.found.forged += (<-a.answers).found.forged
	}
}

// await waits for the challenge, until ctx ends.
func (r *request) await(ctx context.Context, answers chan<- *request, cfg ExchangeConfig, contradicted bool) {
	r.found.contradicted = contradicted
	stop := context.AfterFunc(ctx, func() { r.transport.Close() })
	r.answer, r.err = r.transport.awaitChallenge(r.initiator, cfg.Timeout, cfg.Random, &r.found)
	stop() // before the answer is taken, since ctx ends then
	r.challenged = time.Now()
	answers <- r
}
