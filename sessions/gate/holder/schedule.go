package holder

import (
	"maps"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

// Schedule is the part of the configuration that a reload changes, as the holder
// has read it: the schedule of the knock ports, the peers that services trust, and
// how the firewall answers strangers. Its zero value draws no ports, and trusts no
// peer.
type Schedule struct {
	// Ports returns the port lists of a minute: one for each port secret.
	Ports     func(schedule.Minute) ([][]uint16, error)
	Tolerance time.Duration // how long before and after their minute they are open
	Trusted   map[access.ServiceID]firewall.Trusted
	Silence   *firewall.Silence // nil: as it is
}

// slack is the tolerated difference between the server's and the holder's wall
// clock reading: a request takes time, and the clock may be set meanwhile.
const slack = 5 * time.Second

// drawn returns the ports that may be open for knocks at now, or at most slack
// earlier or later, and the end of each port's time. During a change of
// schedules, the server uses the largest tolerance of them.
func drawn(now time.Time, schedules []Schedule) (map[uint16]time.Time, error) {
	var tolerance time.Duration
	for _, s := range schedules {
		tolerance = max(tolerance, s.Tolerance)
	}
	ends := map[uint16]time.Time{}
	for _, s := range schedules {
		if s.Ports == nil {
			continue
		}
		for _, m := range schedule.Live(now, tolerance+slack) {
			lists, err := s.Ports(m)
			if err != nil {
				return nil, err
			}
			end := (m + 1).Start().Add(tolerance)
			for _, ports := range lists {
				for _, p := range ports {
					if end.After(ends[p]) {
						ends[p] = end
					}
				}
			}
		}
	}
	return ends, nil
}

// drawnAround returns the ports of the minutes around the live ones, in which a client
// may believe to be whose clock is wrong: at now, or at most slack earlier or later.
func drawnAround(now time.Time, schedules []Schedule) (map[uint16]bool, error) {
	ports := map[uint16]bool{}
	for _, s := range schedules {
		if s.Ports == nil {
			continue
		}
		minutes := map[schedule.Minute]bool{}
		for _, at := range []time.Time{now.Add(-slack), now, now.Add(slack)} {
			for m := range schedule.Around(schedule.Live(at, s.Tolerance)) {
				minutes[m] = true
			}
		}
		for _, m := range slices.Sorted(maps.Keys(minutes)) {
			lists, err := s.Ports(m)
			if err != nil {
				return nil, err
			}
			for _, list := range lists {
				for _, p := range list {
					ports[p] = true
				}
			}
		}
	}
	return ports, nil
}
