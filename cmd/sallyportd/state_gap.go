package main

import (
	"fmt"
	"time"

	"sallyport/sessions/state"
	"sallyport/verify/schedule"
)

// gapWarnings says what a start with a state file refuses beyond what each start
// does, and what the file tells of this host's clock.
func gapWarnings(c state.Contents, now time.Time) (warnings []string) {
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if c.Gap.NotBeforeMargin > 0 {
		warn("the record may lack nonces: a start refuses knocks stamped up to %s after it, until a server has run for that long", c.Gap.NotBeforeMargin)
	}
	if c.Gap.LostUntil.After(now) {
		warn("the record lacks nonces: knocks stamped up to %s are refused, and this host's clock shows %s; if a client was let in whose clock was wrong, stop the server, and \"sallyportd state reset\" makes that a minute after the next start",
			stamp(c.Gap.LostUntil), stamp(now))
	}
	var newest time.Time
	for _, e := range c.Entries {
		if at := time.Unix(int64(e.Stamp), 0); at.After(newest) {
			newest = at
		}
	}
	if newest.After(now.Add(schedule.MaxTolerance)) {
		warn("this host's clock shows %s, but a knock was accepted that was stamped %s: this clock is wrong, or was", stamp(now), stamp(newest))
	}
	return warnings
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
