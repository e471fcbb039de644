package ingest

import (
	"context"
	"fmt"
	"maps"
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
	var told map[uint16]time.Time
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
		told, err = s.tell(told, terms.Rules.Tolerance)
		if first && err == nil {
			close(s.ready)
		}
		if updated != nil {
			updated <- err
		}
		if err != nil {
			return err
		}
		// From when we looked: what has changed since is due at once.
		timer.Reset(pause(now, terms.Rules.Tolerance) - s.cfg.Now().Sub(now))
	}
}

// tell says which ports are open, if that is not what was said before.
func (s *Server) tell(before map[uint16]time.Time, tolerance time.Duration) (map[uint16]time.Time, error) {
	if s.cfg.Opened == nil {
		return nil, nil
	}
	open := make(map[uint16]time.Time, len(before))
	for p, m := range s.ports.own() {
		open[p] = (m + 1).Start().Add(tolerance)
	}
	if maps.Equal(open, before) {
		return before, nil
	}
	if err := s.cfg.Opened(maps.Clone(open)); err != nil {
		return nil, fmt.Errorf("tell of the open ports: %w", err)
	}
	return open, nil
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
