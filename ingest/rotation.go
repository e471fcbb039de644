package ingest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/xdp"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// checkInterval is the longest time between two refreshes. Each one retries the
// ports that another program held, and reads the clock, which may have been set.
const checkInterval = time.Second

// rotation keeps the ports of the live minutes open, and the tables of all tiers
// up to date. Only its goroutine opens and closes ports and sets tables.
type rotation struct {
	*Receiver
	current, next *compiled                 // next is prepared but not in force; may be nil
	union         *prefilter.Identifiers    // of both, while next is prepared
	united        [2]*prefilter.Identifiers // of which it is the union
	trace         tracePorts
}

// compiled is Settings with the part of the filter that is compiled once, and again when
// clients have expired.
type compiled struct {
	Settings
	identifiers *prefilter.Identifiers // of the clients that have not expired
	expired     int                    // how many others there are
	minute      schedule.Minute        // when the identifiers were compiled
}

func compile(t Settings, now time.Time) *compiled {
	s := &compiled{Settings: t}
	s.compileIdentifiers(now)
	return s
}

func (s *compiled) compileIdentifiers(now time.Time) {
	t := s.Rules.Table
	ids := slices.AppendSeq(make([]wire.Identifier, 0, t.Len()), t.Unexpired(now))
	s.identifiers, s.expired, s.minute = prefilter.NewIdentifiers(ids), t.Expired(now), schedule.MinuteOf(now)
}

// update removes the identifiers of expired clients from the filter, at most once a
// minute: the verifier refuses them to the second. If the clock was set back, it adds
// them again at once.
func (s *compiled) update(now time.Time) {
	n := s.Rules.Table.Expired(now)
	if n < s.expired || n > s.expired && schedule.MinuteOf(now) != s.minute {
		s.compileIdentifiers(now)
	}
}

// table returns the knock rules at now.
func (s *compiled) table(now time.Time) (prefilter.Table, error) {
	s.update(now)
	ports, err := placesOf(schedule.Live(now, s.Rules.Tolerance), s.Ports, s.PortSecrets)
	if err != nil {
		return prefilter.Table{}, fmt.Errorf("draw the ports: %w", err)
	}
	return prefilter.Table{
		Maximum: int8(s.Rules.Ports - 1), Tolerance: s.Rules.Tolerance,
		Ports: ports, Identifiers: s.identifiers,
	}, nil
}

// run rotates until ctx ends.
func (r *rotation) run(ctx context.Context) error {
	defer close(r.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for first := true; ; first = false {
		do := (*rotation).refresh
		select {
		case <-ctx.Done():
			return nil
		case do = <-r.changes:
		case <-timer.C:
		}
		now := r.cfg.Now()
		if err := do(r); err != nil {
			return err
		}
		if first {
			close(r.ready)
		}
		timer.Reset(untilNext(r.pause(now), r.cfg.Now().Sub(now)))
	}
}

// refresh computes the table of now, and applies it to the ports and all tiers.
// While new settings are prepared, their ports are open too, but accept nothing,
// and the tiers before the sockets accept what either settings accept.
func (r *rotation) refresh() error {
	now := r.cfg.Now()
	table, err := r.current.table(now)
	if err != nil {
		return err
	}
	wider := table
	if r.next != nil {
		next, err := r.next.table(now)
		if err != nil {
			return err
		}
		either := table
		union := r.unite(table.Identifiers, next.Identifiers)
		either.Identifiers, next.Identifiers = union, union
		wider = prefilter.Wider(either, next)
	}
	if r.shield != nil {
		r.shield.keep(wider)
	}
	traced := r.trace.beside(wider, r.current, now)
	r.ports.reconcile(table, wider, traced)
	if r.shield != nil {
		r.shield.routes.set(table.Ports, xdp.Monotonic())
	}
	// The firewall must not open a port that another program has.
	held := wider.Only(r.ports.heldByUs)
	for _, f := range r.fronts {
		if err := f.set(held, r.cfg.Log); err != nil {
			return err
		}
	}
	r.trace.announce(&r.cfg, traced, r.ports.heldByUs)
	if r.shield != nil {
		r.shield.mark(r.current.Rules.Table, now)
	}
	return nil
}

// unite returns a union, and computes it only if it is another one than before.
func (r *rotation) unite(a, b *prefilter.Identifiers) *prefilter.Identifiers {
	if of := [2]*prefilter.Identifiers{a, b}; r.union == nil || of != r.united {
		r.union, r.united = prefilter.Union(a, b), of
	}
	return r.union
}

// pause returns the time until the next refresh.
func (r *rotation) pause(now time.Time) time.Duration {
	p := pause(now, r.current.Rules.Tolerance)
	if r.next != nil {
		p = min(p, pause(now, r.next.Rules.Tolerance))
	}
	return p
}

// untilNext returns how long to wait after a refresh. The pause counts from its beginning:
// a later change is due at once. By the clock, which may have been set meanwhile, it took
// so long.
func untilNext(pause, took time.Duration) time.Duration { return min(pause-took, checkInterval) }

func pause(now time.Time, tolerance time.Duration) time.Duration {
	return min(checkInterval, schedule.NextChange(now, tolerance).Sub(now))
}

// placesOf returns the places of each port that the live minutes draw, in
// ascending order of the minutes.
func placesOf(
	live []schedule.Minute, draw func(schedule.Minute) ([][]uint16, error), secrets []schedule.SecretName,
) (map[uint16][]schedule.Place, error) {
	places := make(map[uint16][]schedule.Place)
	for _, m := range live {
		lists, err := draw(m)
		if err != nil {
			return nil, err
		}
		for l, ports := range lists {
			var secret schedule.SecretName
			if l < len(secrets) {
				secret = secrets[l]
			}
			for i, p := range ports {
				places[p] = append(places[p], schedule.Place{Minute: m, Secret: secret, Index: int8(i)})
			}
		}
	}
	return places, nil
}
