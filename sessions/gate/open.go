package gate

import (
	"fmt"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
)

// request is a grant at one service.
type request struct {
	grant sessions.Grant
	fixed time.Duration // how long the lease lasts from now on; 0: by the terms

	service *Service
	steps   []*step // of the grant's own peers
	fresh   bool
	until   time.Time
	undo    func()
	err     error
}

// opening is the requests of a batch, and the steps that they come to. A peer of
// a service has one step, however many requests are for it.
type opening struct {
	requests []*request
	steps    []*step
	of       map[target]*step
}

type target struct {
	service *Service
	peer    access.Peer
}

// open begins or extends leases, with one Apply for each of the enforcers, which
// are those of the services. Each request has its own error. The caller holds the
// locks of the services.
func open(enforcers []access.Enforcer, requests []*request) {
	o := opening{requests: requests, of: make(map[target]*step, len(requests))}
	for _, r := range requests {
		o.plan(r)
	}
	for _, st := range o.steps {
		st.after = st.service.until(st.peer)
		st.ends = st.after.Before(st.before)
	}
	enforce(enforcers, o.steps)
	endFailed(enforcers, o.steps)
	if o.undo() {
		// What gave way to a lease that did not come about is there again.
		var again []*step
		for _, st := range o.steps {
			now := st.after
			if st.err != nil {
				now = st.before
			}
			if want := st.service.until(st.peer); !want.Equal(now) {
				again = append(again, &step{service: st.service, peer: st.peer, before: now, after: want, ends: true})
			}
		}
		end(enforcers, again)
	}
	for _, r := range requests {
		r.finish()
	}
}

// plan takes down a request's lease, and what has to be done for it.
func (o *opening) plan(r *request) {
	s := r.service
	if s.shut {
		r.err = ErrClosed
		return
	}
	now := s.clock.Boot()
	id, peer := r.grant.Identifier, access.PeerOf(r.grant.Address, s.prefixLen6)
	if !peer.IsValid() {
		r.err = fmt.Errorf("open %s: a grant without an address", s.Name)
		return
	}
	r.until, r.fresh = s.leases.Until(id, peer, now, r.fixed)
	for _, p := range s.admits(peer) {
		r.steps = append(r.steps, o.step(s, p))
	}
	for _, gone := range s.leases.GivesWay(id, peer) {
		for _, p := range s.admits(gone) {
			st := o.step(s, p)
			st.cut, st.soon = s.terms.Cut, true
		}
	}
	r.undo = s.leases.Add(id, peer, now, r.fixed)
}

// step returns the one step of a peer. It is made before the leases change.
func (o *opening) step(s *Service, p access.Peer) *step {
	st := o.of[target{s, p}]
	if st == nil {
		st = &step{service: s, peer: p, before: s.until(p)}
		o.of[target{s, p}] = st
		o.steps = append(o.steps, st)
	}
	return st
}

// undo takes back the leases of requests of which a step has failed, and
// reports whether there are any.
func (o *opening) undo() (some bool) {
	for i := len(o.requests) - 1; i >= 0; i-- {
		r := o.requests[i]
		for _, st := range r.steps {
			if st.err != nil && r.err == nil {
				r.err = fmt.Errorf("open %s: %w", r.service.Name, st.err)
				r.undo()
				some = true
			}
		}
	}
	return some
}

func (r *request) finish() {
	if r.undo != nil && r.service.anyone {
		r.service.anyoneUntil = r.service.leases.Last()
	}
	if r.err != nil {
		return
	}
	if r.fresh {
		r.service.log.Info("opened", "service", r.service.Name, "client", r.grant.Identifier, "address", r.grant.Address,
			"for", r.until.Sub(r.service.clock.Boot()).Round(time.Second))
	}
	r.service.hurry()
}
