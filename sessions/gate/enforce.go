package gate

import (
	"errors"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
)

// step is one change for one peer of a service, at all its enforcers.
type step struct {
	service *Service
	peer    access.Peer
	before  time.Time // until when the peer was admitted; zero: it was not
	after   time.Time // until when it must be admitted
	ends    bool      // it shortens or ends a lease: it cannot be undone
	cut     bool      // if it ends: connections end too
	revoked bool      // if it ends: its client has lost the right
	since   time.Time // if it cuts: only connections that began then or later; zero: all
	soon    bool      // if it ends: it may take access.SoonTime

	accepted int   // number of the service's enforcers that carried it out
	err      error // of the enforcers that failed
}

func (st *step) change(until time.Time, cut bool) access.Change {
	c := access.Change{
		Service: st.service.id, Peer: st.peer, Until: until,
		Cut: st.revoked || cut && until.IsZero(), Revoked: st.revoked && !cut,
		Since: st.since, Soon: st.soon && until.IsZero(),
	}
	if st.service.obstacle() != nil {
		c.Until = time.Time{}
		return c
	}
	if !until.IsZero() {
		c.LeaseOwners = st.service.leases.leaseOwners(st.peer, st.service.anyone)
	}
	return c
}

// enforce carries out steps, with one Apply for each enforcer. It is the only
// place that undoes a change: if an enforcer fails to carry out a step, enforce
// does not pass the step to later enforcers, and restores the earlier state at
// the previous ones. A step that ends a lease goes to all of them. The caller
// holds the locks of the services.
func enforce(enforcers []access.Enforcer, steps []*step) {
	applyTo(enforcers, steps,
		func(st *step, _ int) bool { return st.err == nil || st.ends },
		func(st *step) access.Change { return st.change(st.after, st.cut) },
		func(st *step, err error) {
			if err == nil {
				st.accepted++
			} else {
				st.err = errors.Join(st.err, err)
			}
		})
	applyTo(enforcers, steps,
		func(st *step, place int) bool { return st.err != nil && !st.ends && place < st.accepted },
		func(st *step) access.Change { return st.change(st.before, true) },
		func(st *step, err error) {
			if err != nil {
				st.service.log.Error("failed to roll back a lease change", "service", st.service.Name, "peer", st.peer, "error", err)
			}
		})
}

// applyTo passes to each enforcer the changes of the selected steps of its
// services.
func applyTo(
	enforcers []access.Enforcer, steps []*step, selects func(st *step, place int) bool,
	change func(*step) access.Change, done func(*step, error),
) {
	for _, e := range enforcers {
		var changes []access.Change
		var of []*step
		for _, st := range steps {
			if st.service.obstacle() != nil && !st.ends {
				continue // the leases take effect later
			}
			if place := slices.Index(st.service.enforcers, e); place >= 0 && selects(st, place) {
				changes, of = append(changes, change(st)), append(of, st)
			}
		}
		if len(changes) == 0 {
			continue
		}
		errs := e.Apply(changes)
		for i, st := range of {
			if errs == nil {
				done(st, nil)
			} else {
				done(st, errs[i])
			}
		}
	}
}

// applyRevocations carries out steps that end leases, or shorten them.
func applyRevocations(enforcers []access.Enforcer, steps []*step) {
	enforce(enforcers, steps)
	revokeFailed(enforcers, steps)
}

// revokeFailed handles steps that end or shorten a lease and have failed. A
// lease that cannot be shortened ends: its peer is no longer admitted.
func revokeFailed(enforcers []access.Enforcer, steps []*step) {
	var ended []*step
	for _, st := range steps {
		if st.err == nil || !st.ends {
			continue
		}
		st.service.log.Error("failed to shorten or end a lease", "service", st.service.Name, "peer", st.peer, "error", st.err)
		if !st.after.IsZero() {
			ended = append(ended, &step{
				service: st.service, peer: st.peer,
				ends: true, cut: st.cut, revoked: st.revoked,
			})
		}
	}
	if len(ended) > 0 {
		applyRevocations(enforcers, ended)
	}
}
