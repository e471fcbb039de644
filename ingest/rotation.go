package ingest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sallyport/ingest/prefilter"
	"sallyport/verify/schedule"
)

// tick is how often the rotation looks at the clock at least: a port that
// another program held is tried again, and a clock that was set is noticed.
const tick = time.Second

// rotation keeps the ports of the live minutes open, and all tiers in line with
// them. Its goroutine alone opens and closes ports and sets tables.
type rotation struct {
	*Receiver
	current, next *settings // next is prepared, and not yet in force; or nil
}

// settings are Terms, and what is made of them once.
type settings struct {
	Settings
	identifiers *prefilter.Identifiers
}

func newSettings(t Settings) *settings {
	s := &settings{Settings: t}
	if t.Rules.Table.Len() <= prefilter.MaxIdentifiers {
		s.identifiers = prefilter.NewIdentifiers(slices.Collect(t.Rules.Table.Identifiers()))
	}
	return s
}

// table is the knock rules at now.
func (s *settings) table(now time.Time) (prefilter.Table, error) {
	ports, err := placesOf(schedule.Live(now, s.Rules.Tolerance), s.Ports)
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
		do := (*rotation).look
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
		// From when we looked: what has changed since is due at once.
		timer.Reset(r.pause(now) - r.cfg.Now().Sub(now))
	}
}

// look computes the table of now, and brings the ports and all tiers in line
// with it. While settings are prepared, their ports are open too, but take
// nothing, and the tiers before the sockets let in what either settings accept.
func (r *rotation) look() error {
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
		wider = prefilter.Wider(table, next)
	}
	r.ports.reconcile(table, wider)
	// Another program's ports are not ours to open, or to close.
	ours := wider.Only(r.ports.ours)
	for _, f := range r.fronts {
		if err := f.set(ours, r.cfg.Log); err != nil {
			return err
		}
	}
	return nil
}

// pause is the time until the ports have to be looked at again.
func (r *rotation) pause(now time.Time) time.Duration {
	p := pause(now, r.current.Rules.Tolerance)
	if r.next != nil {
		p = min(p, pause(now, r.next.Rules.Tolerance))
	}
	return p
}

func pause(now time.Time, tolerance time.Duration) time.Duration {
	return min(tick, schedule.NextChange(now, tolerance).Sub(now))
}

// placesOf returns the places of each port that is drawn for one of the live
// minutes, in ascending order of the minutes.
func placesOf(live []schedule.Minute, draw func(schedule.Minute) ([][]uint16, error)) (map[uint16][]schedule.Place, error) {
	places := make(map[uint16][]schedule.Place)
	for _, m := range live {
		lists, err := draw(m)
		if err != nil {
			return nil, err
		}
		for _, ports := range lists {
			for i, p := range ports {
				places[p] = append(places[p], schedule.Place{Minute: m, Index: int8(i)})
			}
		}
	}
	return places, nil
}
