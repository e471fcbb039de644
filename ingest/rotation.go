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
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		now := s.cfg.Now()
		wanted, err := wantedPorts(schedule.Live(now, s.cfg.Rules.Tolerance), s.cfg.Ports)
		if err != nil {
			return err
		}
		s.ports.reconcile(wanted)
		if first {
			close(s.ready)
		}
		timer.Reset(min(tick, schedule.NextChange(now, s.cfg.Rules.Tolerance).Sub(now)))
	}
}

// wantedPorts returns the places of each port that is drawn for one of the
// live minutes, in ascending order of the minutes.
func wantedPorts(live []schedule.Minute, draw func(schedule.Minute) ([]uint16, error)) (map[uint16][]schedule.Place, error) {
	wanted := make(map[uint16][]schedule.Place)
	for _, m := range live {
		ports, err := draw(m)
		if err != nil {
			return nil, err
		}
		for i, p := range ports {
			wanted[p] = append(wanted[p], schedule.Place{Minute: m, Index: int8(i)})
		}
	}
	return wanted, nil
}
