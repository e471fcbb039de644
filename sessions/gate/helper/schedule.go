package helper

import (
	"time"

	"sallyport/verify/schedule"
)

// Schedule is what the holder has read of how ports are drawn. Its zero value
// draws none.
type Schedule struct {
	// Ports draws the port lists of a minute: one for each port secret.
	Ports     func(schedule.Minute) ([][]uint16, error)
	Tolerance time.Duration // how long before and after their minute they are open
}

// slack is how far the server's reading of the time of day may lie from the
// holder's, when a request has been under way and the clock was set meanwhile.
const slack = 5 * time.Second

// drawn returns the ports that may take knocks at now, or were about to, and the
// end of the time for which each is drawn. Of several schedules, the server goes
// by the largest tolerance while it changes from one to the other.
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
