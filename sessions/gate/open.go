package gate

import (
	"fmt"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
)

// request is a grant at one service.
type request struct {
	grant   sessions.Grant
	any     bool          // the lease is for any address, and the grant has none
	fixed   time.Duration // how long the lease lasts from now on; 0: by the policy
	label   string        // the operation; empty: knocks
	keeps   bool          // the lease becomes a kept one
	resumed bool          // Command.Resumed
	// The kept lease is renewed: nothing else of it changes.
	renews bool

	service   *Service
	peer      access.Peer
	steps     []*step       // of the grant's own peers
	displaced []access.Peer // whose leases of the same client end
	gone      []ended       // these leases
	fresh     bool
	wasKept   bool
	begins    func()    // called when the lease has begun; nil: it has no commands, or does not begin
	before    time.Time // until when the lease was in force before; zero: there was none
	until     time.Time
	undo      func()
	err       error
}

// grantBatch is the requests of a batch, and their steps. A peer of a service
// has one step, however many requests concern it.
type grantBatch struct {
	requests []*request
	steps    []*step
	byTarget map[target]*step
}

type target struct {
	service *Service
	peer    access.Peer
}

// open begins or extends leases, with one Apply for each of the services'
// enforcers. Each request has its own error. The caller holds the locks of the
// services.
func open(enforcers []access.Enforcer, requests []*request) {
	b := grantBatch{requests: requests, byTarget: make(map[target]*step, len(requests))}
	for _, r := range requests {
		b.plan(r)
	}
	for _, st := range b.steps {
		st.after = st.service.until(st.peer)
		st.ends = st.after.Before(st.before)
	}
	enforce(enforcers, b.steps)
	revokeFailed(enforcers, b.steps)
	if b.undo() {
		// A lease that was displaced by a failed one is restored.
		var restored []*step
		for _, st := range b.steps {
			now := st.after
			if st.err != nil {
				now = st.before
			}
			if want := st.service.until(st.peer); !want.Equal(now) {
				restored = append(restored, &step{
					service: st.service, peer: st.peer,
					before: now, after: want, ends: true,
				})
			}
		}
		applyRevocations(enforcers, restored)
	}
	for _, r := range requests {
		r.finish()
	}
}

// plan adds a request's lease, and its steps.
func (b *grantBatch) plan(r *request) {
	s := r.service
	if s.closed {
		r.err = ErrClosed
		return
	}
	now := s.clock.Boot()
	id := r.grant.Identifier
	peer, err := s.peerOf(r.grant, r.any)
	if err != nil {
		r.err = fmt.Errorf("open %s: %w", s.Name, err)
		return
	}
	r.peer = peer
	le := s.leases.find(id, peer)
	pending := le != nil && le.pending
	if r.renews {
		b.admit(r, pending)
		r.until, r.undo = s.leases.Renew(id, peer, now)
		return
	}
	fixed := r.fixed
	if r.keeps {
		fixed = s.leases.horizon()
	}
	r.until, r.fresh = s.leases.Until(id, peer, now, fixed)
	r.wasKept = s.leases.IsKept(id, peer)
	if le != nil {
		r.before = le.until
	} else if err := r.begin(); err != nil {
		r.err = fmt.Errorf("open %s: %w", s.Name, err)
		return
	}
	pending = pending || r.begins != nil
	b.admit(r, pending)
	r.displaced = s.leases.Displaced(id, peer)
	for _, other := range r.displaced {
		le := s.leases.find(id, other)
		if r.gone = append(r.gone, endedOf(le)); le.pending {
			continue
		}
		for _, p := range s.admits(other) {
			st := b.step(s, p)
			st.cut, st.soon = s.terms.Cut && other != access.AnyAddress, true
		}
	}
	undo, undoKeep := s.leases.add(id, peer, now, fixed, pending), func() {}
	if r.keeps {
		undoKeep = s.leases.Keep(id, peer)
	}
	if r.begins != nil {
		r.begins()
	}
	r.undo = func() {
		undoKeep()
		undo()
	}
}

// admit adds the steps of a request's own peers. A pending lease has none, so that it
// cannot fail, and need not be undone.
func (b *grantBatch) admit(r *request, pending bool) {
	if pending {
		return
	}
	for _, p := range r.service.admits(r.peer) {
		r.steps = append(r.steps, b.step(r.service, p))
	}
}

// step returns the one step of a peer. It must be called before the leases
// change.
func (b *grantBatch) step(s *Service, p access.Peer) *step {
	st := b.byTarget[target{s, p}]
	if st == nil {
		st = &step{service: s, peer: p, before: s.until(p)}
		b.byTarget[target{s, p}] = st
		b.steps = append(b.steps, st)
	}
	return st
}

// undo removes the leases of requests of which a step failed, and reports
// whether there are any.
func (b *grantBatch) undo() (undone bool) {
	for i := len(b.requests) - 1; i >= 0; i-- {
		r := b.requests[i]
		for _, st := range r.steps {
			if st.err != nil && r.err == nil {
				r.err = fmt.Errorf("open %s: %w", r.service.Name, st.err)
				r.undo()
				undone = true
			}
		}
	}
	return undone
}

func (r *request) finish() {
	if r.undo != nil && r.service.anyone {
		r.service.anyoneUntil = r.service.leases.Last()
	}
	if r.err != nil || r.renews {
		return
	}
	s := r.service
	s.counts.granted.Add(1)
	// A later request of the batch may have displaced the lease already.
	if le := s.leases.find(r.grant.Identifier, r.peer); le != nil {
		le.address = r.grant.Address
		if r.keeps || !r.wasKept {
			le.label = r.label
		}
		r.logGranted(le)
	} else if r.begins == nil {
		r.logBegun()
	}
	s.cutProved(r.gone, s.terms.Cut)
	s.logEnded(r.gone, displaced)
	s.updateNeed()
	s.reschedule()
}
