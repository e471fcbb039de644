package gate

import (
	"errors"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
)

// step is what is to become of one peer of a service, at all its enforcers.
type step struct {
	service *Service
	peer    access.Peer
	before  time.Time // until when the peer has been let in; zero: it was not
	after   time.Time // and from now on
	ends    bool      // it makes a lease shorter, or ends it: there is no way back
	cut     bool      // of a step that ends: connections end too
	revoked bool      // of a step that ends: its client has lost the right
	since   time.Time // of those that are cut: that began then or later; zero: all
	soon    bool      // of a step that ends: it may take access.SoonTime

	accepted int   // how many of the service's enforcers have carried it out
	err      error // of one that has not
}

func (st *step) change(until time.Time, cut bool) access.Change {
	c := access.Change{
		Service: st.service.id, Peer: st.peer, Until: until, Cut: st.revoked || cut && until.IsZero(), Revoked: st.revoked && !cut,
		Since: st.since, Soon: st.soon && until.IsZero(),
	}
	if !until.IsZero() {
		c.Holders = st.service.leases.holdersOf(st.peer)
	}
	return c
}

// enforce carries steps out, with one Apply for each enforcer. It is the only
// place that takes anything back: a step that an enforcer fails is not handed to
// those after it, and those before it are told to have it as it was. A step that
// ends a lease goes to all of them. The caller holds the locks of the services.
func enforce(enforcers []access.Enforcer, steps []*step) {
	applyTo(enforcers, steps, func(st *step, _ int) bool { return st.err == nil || st.ends },
		func(st *step) access.Change { return st.change(st.after, st.cut) },
		func(st *step, err error) {
			if err == nil {
				st.accepted++
			} else {
				st.err = errors.Join(st.err, err)
			}
		})
	applyTo(enforcers, steps, func(st *step, place int) bool { return st.err != nil && !st.ends && place < st.accepted },
		func(st *step) access.Change { return st.change(st.before, true) },
		func(st *step, err error) {
			if err != nil {
				st.service.log.Error("failed to roll back a lease change", "service", st.service.Name, "peer", st.peer, "error", err)
			}
		})
}

// applyTo hands each enforcer the changes of those steps of its services that
// it is for.
func applyTo(enforcers []access.Enforcer, steps []*step, is func(st *step, place int) bool, change func(*step) access.Change, done func(*step, error)) {
	for _, e := range enforcers {
		var changes []access.Change
		var of []*step
		for _, st := range steps {
			if place := slices.Index(st.service.enforcers, e); place >= 0 && is(st, place) {
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

// end carries out steps that end leases, or make them shorter.
func end(enforcers []access.Enforcer, steps []*step) {
	enforce(enforcers, steps)
	endFailed(enforcers, steps)
}

// endFailed deals with steps that end and have failed. A lease that cannot go on
// with less is over: its peer is let in no more.
func endFailed(enforcers []access.Enforcer, steps []*step) {
	var over []*step
	for _, st := range steps {
		if st.err == nil || !st.ends {
			continue
		}
		st.service.log.Error("failed to shorten or end a lease", "service", st.service.Name, "peer", st.peer, "error", st.err)
		if !st.after.IsZero() {
			over = append(over, &step{service: st.service, peer: st.peer, ends: true, cut: st.cut, revoked: st.revoked})
		}
	}
	if len(over) > 0 {
		end(enforcers, over)
	}
}
