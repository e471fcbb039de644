package stay

import (
	"time"

	"sallyport/sessions/clock"
)

const (
	// leastSuspension is the shortest suspension that makes a knock due. A shorter one lets
	// no address and no lease expire.
	leastSuspension = time.Second
	// stall is how late a timer may be on a busy computer.
	stall = 5 * time.Second
)

// passed are the times that have passed, by each of the host's clocks, since the last
// look.
type passed struct{ wall, monotonic, boot time.Duration }

// suspended reports whether the host was suspended.
func (p passed) suspended() bool {
	if bootClock {
		return byBootClock(p)
	}
	return byLateTick(p)
}

// byBootClock reports whether the host was suspended: only the monotonic clock stops
// meanwhile, and neither of the two is ever set.
func byBootClock(p passed) bool { return p.boot-p.monotonic >= leastSuspension }

// byLateTick reports whether the host was suspended, where no clock shows that alone:
// the last look is a tick ago at most, unless the timers stood still. The monotonic clock
// of some systems continues meanwhile. A wall clock that is set forward looks the same, and
// costs one knock.
func byLateTick(p passed) bool {
	return max(p.wall, p.monotonic) >= tick+leastSuspension+stall
}

// looks are the clocks at the last look.
type looks struct{ wall, monotonic, boot time.Time }

func look(c clock.Clock) looks {
	return looks{c.Wall().Round(0), c.Monotonic().Round(0), c.Boot().Round(0)}
}

// passed returns the times that have passed since the last call.
func (l *looks) passed(c clock.Clock) passed {
	before := *l
	*l = look(c)
	return passed{l.wall.Sub(before.wall), l.monotonic.Sub(before.monotonic), l.boot.Sub(before.boot)}
}
