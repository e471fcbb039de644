package schedule

import (
	"iter"
	"time"
)

// AroundMinutes is how many minutes before and after the live ones Around yields, and
// AroundHours for how many whole hours.
const AroundMinutes, AroundHours = 10, 14

// Around yields the minutes in which a client may believe to be whose clock is wrong,
// without the live ones, and the likeliest first: the minutes beside them; then those of a
// clock that is off by whole hours, as it has another time zone's time.
func Around(live []Minute) iter.Seq[Minute] {
	first, last := live[0], live[len(live)-1]
	return func(yield func(Minute) bool) {
		for d := Minute(1); d <= AroundMinutes; d++ {
			if !yield(first-d) || !yield(last+d) {
				return
			}
		}
		for h := Minute(1); h <= AroundHours; h++ {
			for m := first; m <= last; m++ {
				if !yield(m-60*h) || !yield(m+60*h) {
					return
				}
			}
		}
	}
}

// Reach returns how far a clock may be off beyond the tolerance, if the first n minutes of
// Around are covered: up to so many minutes, or by 1 to so many whole hours.
func Reach(n int, now time.Time, tolerance time.Duration) (minutes, hours int) {
	minutes = min(n/2, AroundMinutes)
	if rest := n - 2*AroundMinutes; rest > 0 {
		hours = min(rest/(2*len(Live(now, tolerance))), AroundHours)
	}
	return minutes, hours
}
