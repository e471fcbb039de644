package sessions

import "time"

// The default limit of a client's attempts. A client program makes at most three
// attempts for each address family within some seconds, and several processes
// can knock with one profile at the same time. Burst is enough for several of
// them, and Pause refills it before a person tries again by hand. The most
// expensive attempt displaces an address at every service, which takes the
// kernel milliseconds, so a client at its limit uses some percent of a core.
const (
	DefaultPause = 200 * time.Millisecond
	DefaultBurst = 20
)

// Limit is the rate of a token bucket: at most Burst times at once, and once
// more for each Pause that passes. Zero fields have their defaults.
type Limit struct {
	Pause time.Duration
	Burst int
}

func (l Limit) orDefault() Limit {
	if l.Pause == 0 {
		l.Pause = DefaultPause
	}
	if l.Burst == 0 {
		l.Burst = DefaultBurst
	}
	return l
}

// Bucket is a token bucket. The zero value is full. It belongs to one goroutine.
type Bucket struct {
	full time.Duration // the time, since the epoch of the clock, at which it is full again
}

// Take takes a token, and reports whether there was one. Now is a time of a
// clock that is never set.
func (b *Bucket) Take(now time.Time, l Limit) bool {
	l = l.orDefault()
	at := time.Duration(now.UnixNano())
	full := max(b.full, at) + l.Pause
	if full-at > l.Pause*time.Duration(l.Burst) {
		return false
	}
	b.full = full
	return true
}

// Full reports whether the bucket has all its tokens.
func (b *Bucket) Full(now time.Time) bool { return b.full <= time.Duration(now.UnixNano()) }
