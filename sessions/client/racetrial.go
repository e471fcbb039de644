package client

import (
	"errors"
	"slices"
	"time"

	"sallyport/verify/preamble"
	"sallyport/verify/schedule"
)

// watch begins to watch after a sequence.
func (r *race) watch(tr *trial) {
	tr.prover = r.prover(tr.base)
	if r.found.at == tr.service {
		tr.earlier = r.found.before
	}
	timeout := r.cfg.Timeout
	if r.seq.previous {
		timeout = min(timeout, previousTime)
	}
	tr.lanes = tr.newLanes(timeout)
	r.limit(tr)
	r.conns.lanes = append(r.conns.lanes, tr.lanes...)
	r.trials = append(r.trials, tr)
	if canReceiveICMP {
		r.conns.running.Go(func() {
			tr.sender.awaitICMP(func() {
				select {
				case r.icmp <- tr:
				case <-r.conns.closed:
				}
			})
		})
	}
}

// rejected takes ICMP errors for the knocks of a trial: the sequence is not complete.
func (r *race) rejected(tr *trial, now time.Time) {
	all := len(tr.sender.icmp()) >= min(len(tr.sender.ports), enoughICMP)
	for _, l := range tr.lanes {
		l.rejected(all, now)
	}
	r.plan.over(tr.index, now)
}

// judge decides whether a trial shows all that can be known.
func (r *race) judge(tr *trial) {
	if r.seq.previous || r.seq.byClock {
		return // the server may refuse these
	}
	switch first := tr.lanes[0]; {
	case first.unheard:
		r.unheard++
	case errors.Is(first.err, preamble.ErrNotAuthentic):
		// Another program may have the port at one address only.
		r.impostors++
		r.enough = r.enough || r.impostors+len(r.unsent) == len(r.targets)
	case first.letIn(time.Now()), endsProofs(first.err):
		r.enough = true
	}
}

// silent reports whether no knock has arrived at any address. The ports of another minute
// could be open.
func (r *race) silent() bool {
	return r.unheard > 0 && r.unheard+len(r.unsent) == len(r.targets) && schedule.MinuteOf(r.cfg.Now()) == r.minute
}

// answeredAt takes the answer of a service. Without Keep, the race goes on to the other
// family for a short time.
func (r *race) answeredAt(l *lane, now time.Time) {
	for _, tr := range slices.Clone(r.trials) {
		if slices.Contains(tr.lanes, l) {
			tr.sighting, tr.service, tr.lane = l.sighting, l.service, l
			r.won = append(r.won, tr)
			r.plan.won(tr.index, now)
			r.end(tr)
		}
	}
	for _, tr := range slices.Clone(r.trials) {
		if !r.plan.matters(tr.index) {
			r.end(tr)
		}
		r.limit(tr)
	}
}

// limit ends a trial when the time for the other family is over.
func (r *race) limit(tr *trial) {
	for _, l := range tr.lanes {
		if r.plan.hasAnswer() {
			l.shorten(r.plan.until)
		}
	}
}

// end ends a trial.
func (r *race) end(tr *trial) {
	for _, l := range tr.lanes {
		l.end(time.Now())
		r.conns.abandon(l)
	}
	r.trials = slices.DeleteFunc(r.trials, func(other *trial) bool { return other == tr })
	tr.icmp = tr.sender.icmp()
	tr.sender.Close()
	r.settleCandidates(tr.drawn)
	tr.early.close()
}

func (r *race) close() {
	for _, tr := range slices.Clone(r.trials) {
		r.end(tr)
	}
	r.conns.close()
}
