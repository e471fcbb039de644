package sessions

import "time"

// What a client may open, unless Config says otherwise. A client program makes
// three attempts within some seconds, over each family at the most, and every
// process that knocks by one profile makes its own: Burst is room for several
// at once, and Pause fills it again before a person would try by hand. The
// dearest attempt displaces an address at every service, which the kernel does
// in milliseconds: a client at its limit takes some percent of a core.
const (
	DefaultPause = 200 * time.Millisecond
	DefaultBurst = 20
)

// Limit is how often something may be done: Burst times at once, and once more
// for each Pause that passes. Zero fields have their defaults.
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

// Bucket is a token bucket, which the zero value fills. It belongs to one
// goroutine.
type Bucket struct {
	full time.Duration // when it is full again, since the epoch of the clock
}

// Take takes a token at a time of a clock that is never set, and reports whether
// there was one.
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
