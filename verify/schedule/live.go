package schedule

import "time"

const (
	// MaxTolerance is the maximum tolerance of a server.
	MaxTolerance = time.Minute
	// MaxLive is the maximum number of minutes that are live at a time.
	MaxLive = 3
	// MaxOpen is the maximum time for which a minute's ports are open: the
	// minute, and the maximum tolerance before and after it.
	MaxOpen = time.Minute + 2*MaxTolerance
)

// Live returns the minutes whose ports are open at now, in ascending order. The
// ports of a minute open tolerance before it begins and close tolerance after
// it ends, so that a client whose clock is wrong by up to tolerance still finds
// them open. With a tolerance up to MaxTolerance, 1 to MaxLive minutes are live.
func Live(now time.Time, tolerance time.Duration) []Minute {
	var live []Minute
	last := MinuteOf(now.Add(tolerance))
	for m := MinuteOf(now.Add(-tolerance)); m <= last; m++ {
		live = append(live, m)
	}
	return live
}

// NextChange returns the first instant after now at which Live returns other
// minutes.
func NextChange(now time.Time, tolerance time.Duration) time.Time {
	opens := (MinuteOf(now.Add(tolerance)) + 1).Start().Add(-tolerance)
	closes := (MinuteOf(now.Add(-tolerance)) + 1).Start().Add(tolerance)
	if opens.Before(closes) {
		return opens
	}
	return closes
}
