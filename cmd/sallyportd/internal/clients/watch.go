package clients

import "time"

const (
	// settleTime is how long the file has to be left alone before it is read:
	// editors and copies write in steps.
	settleTime = 200 * time.Millisecond
	// LookTime is how long a change may go unnoticed that makes no event, and how
	// long a reading that has failed rests before it is tried again.
	LookTime = 2 * time.Second
)

// Watch decides when a clients file is to be read. It is a function of what is
// seen of the file and of the time, and not safe for concurrent use.
type Watch struct {
	seen  State
	since time.Time // when it was first seen so
	tried time.Time // when it was last read so, in vain; zero: it was not
}

// Look takes the state of the file, and the one that is in force. It returns
// whether to read the file now, and else how long it may rest.
func (w *Watch) Look(now time.Time, file, inForce State) (read bool, rest time.Duration) {
	if w.since.IsZero() || file != w.seen {
		*w = Watch{seen: file, since: now}
	}
	from, pause := w.since, settleTime
	switch {
	case file == inForce:
		return false, LookTime
	case !w.tried.IsZero():
		from, pause = w.tried, LookTime
	}
	if rest = pause - now.Sub(from); rest > 0 {
		return false, rest
	}
	return true, 0
}

// Failed says that the file could not be put in force.
func (w *Watch) Failed(now time.Time) { w.tried = now }

// Since is when the file was first seen as it is; zero: it was never looked at.
func (w *Watch) Since() time.Time { return w.since }
