package client

import (
	"context"
	"slices"
	"time"
)

// race is one sequence to each address of the server, and the watch at their services,
// until one answers. One goroutine runs it. Others wait for connections (connector), for
// ICMP errors of each sender, and for the resolver.
type race struct {
	*knocking
	seq     sequence
	plan    *plan
	targets []target // those of the plan
	trials  []*trial // that run
	won     []*trial // in the order of their answers
	conns   *connector
	icmp    chan *trial
	unsent  []error
	unheard int // addresses at which no knock has arrived
}

// attempt sends a sequence to each address, one after the other, until a service
// answers.
func (k *knocking) attempt(ctx context.Context, seq sequence) (Result, error) {
	// A watch by a connection also shows whether the program behind the port runs.
	granted := k.granted && (k.cfg.Keep || k.cfg.Watch != WatchConnection)
	r := &race{
		knocking: k, seq: seq, plan: newPlan(time.Now(), !k.cfg.Keep), icmp: make(chan *trial),
	}
	ctx, cancel := context.WithCancel(ctx)
	r.conns = newConnector(ctx, k.whole(), granted)
	r.conns.early = k.cfg.Keep && canPeek
	defer r.close()
	defer cancel() // of the resolver, and of proofs
	r.add(k.addresses(seq.previous))
	err := r.run(ctx)
	switch {
	case len(r.won) > 0:
		return k.answered(ctx, seq.attempt, r.won)
	case err != nil:
		return Result{}, err
	case localProofError(k.found.service) != nil:
		return Result{}, localProofError(k.found.service)
	case len(r.unsent) > 0 && len(r.unsent) == len(r.targets):
		return Result{}, k.cannotSend(seq.attempt, r.unsent)
	}
	k.enough = k.enough || r.silent()
	return Result{}, errUnanswered
}

// add adds addresses to the plan.
func (r *race) add(list []target) {
	r.targets, r.expected = append(r.targets, list...), 0
	for _, t := range list {
		if r.plan.add(t.named, t.knock); t.named {
			r.expected++ // the nonces of all of these are reserved at once
		}
	}
}

// run returns when the race is over.
func (r *race) run(ctx context.Context) error {
	var found <-chan []target // the resolver's answer
	lookup := time.NewTimer(namedPause)
	defer lookup.Stop()
	for ctx.Err() == nil {
		next, running, err := r.step(ctx)
		switch {
		case err != nil:
			return err
		case !running && (len(r.won) > 0 || r.lookup == nil):
			return nil
		case !running && found == nil:
			lookup.Reset(0) // without it, there is nothing to do
		}
		timer := newTimer(next)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case tr := <-r.icmp:
			r.rejected(tr, time.Now())
		case a := <-r.conns.answers:
			if l := r.conns.take(a, time.Now()); l != nil {
				r.answeredAt(l, time.Now())
			}
		case <-lookup.C:
			if found == nil && r.lookup != nil {
				found = r.lookup(ctx)
			}
		case list := <-found:
			found, r.lookup = nil, nil
			r.add(r.know(list))
		}
		timer.Stop()
	}
	return ctx.Err()
}

// step does what is due, and returns when it must be called again. Running: an address
// is due later, or the client watches somewhere.
func (r *race) step(ctx context.Context) (next time.Time, running bool, err error) {
	for again := true; again; {
		again = false
		if next, running, err = r.sendDue(ctx); err != nil {
			return next, false, err
		}
		at, watching := r.conns.step(time.Now())
		if running = running || watching; !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		for _, tr := range slices.Clone(r.trials) {
			if tr.advance(time.Now()) {
				r.plan.over(tr.index, time.Now())
				r.end(tr)
				r.judge(tr)
				r.unanswered(ctx, r.seq.attempt, tr)
				again = true // another address may be due
			}
		}
	}
	return next, running, nil
}

// sendDue sends the sequences that are due, and returns when the next one is. Later: one
// is due later.
func (r *race) sendDue(ctx context.Context) (next time.Time, later bool, err error) {
	for {
		i, at, ok := r.plan.due()
		if !ok || time.Until(at) > 0 {
			return at, ok, nil
		}
		tr, err := r.send(ctx, r.targets[i], r.seq)
		switch {
		case isSendError(err):
			r.unsent = append(r.unsent, err)
		case err != nil && len(r.won) == 0:
			return next, false, err
		case err == nil:
			tr.index = i
			r.plan.sent(i, time.Now())
			r.watch(ctx, tr)
			continue
		}
		r.plan.over(i, time.Now())
	}
}
