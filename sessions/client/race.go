package client

import (
	"context"
	"slices"
	"time"
)

// race is one sequence to each address of the server, and the watch at their services,
// until one answers. One goroutine runs it. Others wait for connections (connector), for
// ICMP errors of each sender, for the resolver, and for a Signer.
type race struct {
	*knocking
	seq     sequence
	plan    *plan
	targets []target // those of the plan
	trials  []*trial // that run
	won     []*trial // in the order of their answers
	conns   *connector
	icmp    chan *trial
	signing *signed // which a goroutine signs; nil: none
	signed  chan *signed
	unsent  []error
	unheard int // addresses at which no knock has arrived
	// impostors are addresses at which another program than the server answers.
	impostors int
}

// attempt sends a sequence to each address, one after the other, until a service
// answers.
func (k *knocking) attempt(ctx context.Context, seq sequence) (Result, error) {
	// A watch by a connection also shows whether the program behind the port runs.
	granted := k.granted && (k.cfg.Keep || k.cfg.Watch != WatchConnection)
	r := &race{
		knocking: k, seq: seq, plan: newPlan(time.Now(), !k.cfg.Keep), icmp: make(chan *trial), signed: make(chan *signed),
	}
	ctx, cancel := context.WithCancel(ctx)
	r.conns = newConnector(ctx, k.whole(), granted)
	r.conns.keep, r.conns.early = k.cfg.Keep, k.cfg.Keep && canPeek
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
		case s := <-r.signed:
			if err := r.take(s); err != nil {
				timer.Stop()
				return err
			}
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
// is due later, or is being signed. Only a Signer may take long, so it has a goroutine:
// meanwhile the race serves the addresses before.
func (r *race) sendDue(ctx context.Context) (next time.Time, later bool, err error) {
	for r.signing == nil {
		i, at, ok := r.plan.due()
		if !ok || time.Until(at) > 0 {
			return at, ok, nil
		}
		s, err := r.begin(ctx, r.targets[i], r.seq)
		if err != nil {
			if err = r.failed(i, err); err != nil {
				return next, false, err
			}
			continue
		}
		if s.index = i; r.cfg.Profile.Signer != nil {
			r.signing = s
			r.conns.running.Go(func() {
				r.sign(ctx, s)
				select {
				case r.signed <- s:
				case <-r.conns.closed:
				}
			})
			break
		}
		r.sign(ctx, s)
		if err := r.transmit(s); err != nil {
			return next, false, err
		}
	}
	return next, !r.plan.hasAnswer() || r.plan.matters(r.signing.index), nil
}

// transmit sends a signed sequence, and watches after it.
func (r *race) transmit(s *signed) error {
	tr, err := r.knocking.transmit(s)
	if err != nil {
		return r.failed(s.index, err)
	}
	r.plan.sent(tr.index, time.Now())
	r.watch(tr)
	return nil
}

// failed takes the error of a sequence that was not sent. It returns the error if that ends
// the race.
func (r *race) failed(index int, err error) error {
	if isSendError(err) {
		r.unsent = append(r.unsent, err)
	} else if len(r.won) == 0 {
		return err
	}
	r.plan.over(index, time.Now())
	return nil
}

// take takes the sequence that a Signer has signed. After the answer of a service, it may
// be useless.
func (r *race) take(s *signed) error {
	r.signing = nil
	if r.plan.hasAnswer() && (!r.plan.matters(s.index) || !time.Now().Before(r.plan.until)) {
		r.plan.over(s.index, time.Now())
		return nil
	}
	return r.transmit(s)
}
