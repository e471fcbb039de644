package clients

import "time"

const (
	// settleTime is how long the file must remain unchanged before it is read:
	// editors and copies write in several steps.
	settleTime = 200 * time.Millisecond
	// LookTime is the interval of looks at the file, for changes that make no event,
	// and the pause after a failed attempt to read it.
	LookTime = 2 * time.Second
)

// Watch decides when to read a clients file. It depends only on the states of the
// file and the times that it receives. It is not safe for concurrent use.
type Watch struct {
	seen   State
	since  time.Time // when the file was first in this state
	failed time.Time // when the last attempt to read this state failed; zero: none failed
}

// Look receives the present state of the file, and the state whose clients the
// server applies. It returns whether to read the file now, and otherwise how long
// to wait for the next look.
func (w *Watch) Look(now time.Time, file, applied State) (read bool, wait time.Duration) {
	if w.since.IsZero() || file != w.seen {
		*w = Watch{seen: file, since: now}
	}
	from, pause := w.since, settleTime
	switch {
	case file == applied:
		return false, LookTime
	case !w.failed.IsZero():
		from, pause = w.failed, LookTime
	}
	if wait = pause - now.Sub(from); wait > 0 {
		return false, wait
	}
	return true, 0
}

// Failed records that the server could not read or apply the file.
func (w *Watch) Failed(now time.Time) { w.failed = now }

// Since returns when the file was first in its present state; zero: before the first
// Look.
func (w *Watch) Since() time.Time { return w.since }
