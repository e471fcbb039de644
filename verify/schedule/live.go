package schedule

import "time"

const (
	// MaxTolerance is the largest tolerance that a server may have.
	MaxTolerance = time.Minute
	// MaxLive is how many minutes are live at a time, at most.
	MaxLive = 3
	// MaxOpen is how long a minute's ports are open at most: the minute, and
	// the largest tolerance before and after it.
	MaxOpen = time.Minute + 2*MaxTolerance
)

// Live returns the minutes whose ports are open at now: a minute's ports open
// tolerance before it begins and close tolerance after it ends, so that a
// client whose clock is off by as much still meets them. There are one to
// MaxLive of them for a tolerance up to MaxTolerance, in ascending order.
func Live(now time.Time, tolerance time.Duration) []Minute {
	var live []Minute
	last := MinuteOf(now.Add(tolerance))
	for m := MinuteOf(now.Add(-tolerance)); m <= last; m++ {
		live = append(live, m)
	}
	return live
}

// NextChange returns the first instant after now at which Live returns
// something else.
func NextChange(now time.Time, tolerance time.Duration) time.Time {
	opens := (MinuteOf(now.Add(tolerance)) + 1).Start().Add(-tolerance)
	closes := (MinuteOf(now.Add(-tolerance)) + 1).Start().Add(tolerance)
	if opens.Before(closes) {
		return opens
	}
	return closes
}
