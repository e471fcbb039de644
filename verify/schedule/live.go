package schedule

import "time"

// Live returns the minutes whose ports are open at now: a minute's ports open
// tolerance before it begins and close tolerance after it ends, so that a
// client whose clock is off by as much still meets them. There are one to
// three of them for a tolerance up to a minute, in ascending order.
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
