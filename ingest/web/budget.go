package web

import (
	"sync/atomic"
	"time"
)

// budget limits a rate: so many at once as in a second. It is safe for concurrent use.
type budget struct {
	pause time.Duration // between two, at the limit
	full  atomic.Int64  // when it is full again, in nanoseconds
}

func newBudget(perSecond int) *budget { return &budget{pause: time.Second / time.Duration(perSecond)} }

// take reports whether the rate permits one more, and counts it.
func (b *budget) take(now time.Time) bool { return takeFrom(&b.full, b.pause, time.Second, now) }

// takeFrom takes one from a bucket that is full again at a time, in nanoseconds. It holds
// as many as the rate permits in the time of a burst.
func takeFrom(bucket *atomic.Int64, pause, burst time.Duration, now time.Time) bool {
	for {
		before := bucket.Load()
		full := max(before, now.UnixNano()) + int64(pause)
		if full-now.UnixNano() > int64(burst) {
			return false
		}
		if bucket.CompareAndSwap(before, full) {
			return true
		}
	}
}
