package ingest

import (
	"context"
	"time"

	"sallyport/verify/schedule"
)

// tick is how often the rotation looks at the clock at least: a port that
// another program held is tried again, and a clock that was set is noticed.
const tick = time.Second

// rotate keeps the ports of the live minutes open until ctx ends.
func (s *Server) rotate(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for first := true; ; first = false {
		var updated chan error
		select {
		case <-ctx.Done():
			return nil
		case updated = <-s.updates:
		case <-timer.C:
		}
		terms := *s.terms.Load()
		now := s.cfg.Now()
		wanted, err := wantedPorts(schedule.Live(now, terms.Rules.Tolerance), terms.Ports)
		if err != nil {
			if updated != nil {
				updated <- err
			}
			return err
		}
		s.ports.reconcile(wanted, terms.Rules)
		if first {
			close(s.ready)
		}
		if updated != nil {
			updated <- nil
		}
		// From when we looked: what has changed since is due at once.
		timer.Reset(pause(now, terms.Rules.Tolerance) - s.cfg.Now().Sub(now))
	}
}

// pause is the time until the ports have to be looked at again.
func pause(now time.Time, tolerance time.Duration) time.Duration {
	return min(tick, schedule.NextChange(now, tolerance).Sub(now))
}

func (s *Server) live(t Terms) []schedule.Minute {
	return schedule.Live(s.cfg.Now(), t.Rules.Tolerance)
}

// wantedPorts returns the places of each port that is drawn for one of the
// live minutes, in ascending order of the minutes.
func wantedPorts(live []schedule.Minute, draw func(schedule.Minute) ([][]uint16, error)) (map[uint16][]schedule.Place, error) {
	wanted := make(map[uint16][]schedule.Place)
	for _, m := range live {
		lists, err := draw(m)
		if err != nil {
			return nil, err
		}
		for _, ports := range lists {
			for i, p := range ports {
				wanted[p] = append(wanted[p], schedule.Place{Minute: m, Index: int8(i)})
			}
		}
	}
	return wanted, nil
}
