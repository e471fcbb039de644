package main

import (
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/state"
	"sallyport/verify/schedule"
)

// gapFindings warns if a start with this record rejects more knocks than every
// start does, and if the record shows that this host's clock is wrong.
func gapFindings(c state.Contents, env cli.Env) (found []finding) {
	now := env.Now()
	if c.Gap.NotBeforeMargin > 0 {
		found = append(found, warn("nonce-record-gap", "",
			"the record may lack nonces: the next start rejects knocks stamped up to %s after it, until a server has run for that long", c.Gap.NotBeforeMargin))
	}
	if c.Gap.LostUntil.After(now) {
		found = append(found, warn("nonce-record-gap",
			"if the server accepted a client whose clock was wrong: stop the server, and run \"sallyportd state reset\"; the time is then a minute after the next start",
			"the record lacks nonces: the server rejects knocks stamped up to %s, and this host's clock shows %s", env.Time(c.Gap.LostUntil), env.Time(now)))
	}
	var newest time.Time
	for _, e := range c.Entries {
		if at := time.Unix(int64(e.Stamp), 0); at.After(newest) {
			newest = at
		}
	}
	if newest.After(now.Add(schedule.MaxTolerance)) {
		found = append(found, warn("clock-wrong", "set this host's clock",
			"this host's clock shows %s, but the server has accepted a knock stamped %s: the clock is wrong now, or was wrong then", env.Time(now), env.Time(newest)))
	}
	return found
}
